"""Shakespeare by characters: 42 works, the last 5 % held out (almost exactly the last two plays), bits a character.

python examples/shakespeare.py [--output demo] [--record benchmarks/results/shakespeare.json]
"""

from __future__ import annotations

from datasets import SHAKESPEARE, shakespeare
from results import LSTM, finish, options, row, timed

from grus.tasks.baselines import NGram, xz_bits
from grus.tasks.language import Architecture, Dropout, LanguageModel, Optimiser, Trainer
from grus.tasks.language.corpus import split
from grus.tasks.language.fit import bits_per_character, fit_network
from grus.torch.network.peers import lstm_of_equal_parameters

HIDDEN, STEPS = 512, 3800
MOST = 2.05  # bits a character, or the run ends with status 1


def language_model(steps: int = STEPS, seed: int = 0) -> LanguageModel:
    return LanguageModel(
        validation=0.0,
        architecture=Architecture(hidden_size=HIDDEN, embedding_size=64),
        dropout=Dropout(output=0.05),
        optimiser=Optimiser(learning_rate=4e-3, batch_size=64),
        trainer=Trainer(steps=steps, window=100, seed=seed),
    )


def main() -> None:
    given = options(__doc__.split("\n")[0], "shakespeare")
    text = shakespeare()
    settings = language_model().settings
    parts = split(text, settings)
    rows, bits = [], None
    if "gru" in given.only:
        model, seconds = timed(lambda: language_model().fit(text, progress=not given.quiet))
        model.save(given.output / "shakespeare.safetensors")
        report, more = timed(lambda: model.evaluate(parts.test))
        bits = report["GRU"]["bits/character"]
        sample = "ROMEO." + "".join(model.generate("ROMEO.", 500, temperature=0.8, seed=1))
        rows.append(row(f"GRU, {HIDDEN} units", bits, seconds + more, seeds=[0], sample=sample))
    if "lstm" in given.only:
        trained, seconds = timed(
            lambda: fit_network(text, settings, recurrent=lstm_of_equal_parameters, progress=not given.quiet)
        )
        of_lstm, more = timed(lambda: bits_per_character(trained.networks[0], trained.task, parts.test))
        rows.append(row(LSTM, of_lstm, seconds + more, seeds=[0]))
    if "baselines" in given.only:
        known = parts.train + parts.validation
        ngram, seconds = timed(lambda: NGram.fit(known, order=8).bits(parts.test, before=known))
        rows.append(row("8-grams of characters, modified Kneser-Ney", ngram, seconds))
        xz, seconds = timed(lambda: xz_bits(known, parts.test))
        rows.append(row("xz", xz, seconds))
    data = f"Shakespeare: {len(text):,} characters, the last 5 % to test on; {SHAKESPEARE.credit}"
    finish(given, "shakespeare", "bits a character", data, rows)
    if bits is None:
        return
    print(f"\n{sample}")
    if not bits <= MOST:
        raise SystemExit(f"error: {bits:.3f} bits a character, expected at most {MOST}")


if __name__ == "__main__":
    main()
