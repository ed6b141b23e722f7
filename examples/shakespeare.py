"""Shakespeare by characters: 42 works, the last 5 % held out (almost exactly the last two plays), bits a character.

python examples/shakespeare.py [--output demo] [--record benchmarks/results/shakespeare.json]
"""

from __future__ import annotations

from datasets import SHAKESPEARE, shakespeare
from results import finish, options, row, timed

from grus.tasks.baselines import NGram, xz_bits
from grus.tasks.language import Architecture, Dropout, LanguageModel, Optimiser, Trainer
from grus.tasks.language.corpus import split

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
    model, seconds = timed(lambda: language_model().fit(text, progress=not given.quiet))
    model.save(given.output / "shakespeare.safetensors")
    parts = split(text, model.settings)
    report, more = timed(lambda: model.evaluate(parts.test))
    bits = report["GRU"]["bits/character"]
    sample = "".join(model.generate("ROMEO.", 500, temperature=0.8, seed=1))
    rows = [row(f"GRU, {HIDDEN} units", bits, seconds + more, seeds=[0], sample=f"ROMEO.{sample}")]
    if not given.no_baselines:
        known = parts.train + parts.validation
        ngram, seconds = timed(lambda: NGram.fit(known, order=8).bits(parts.test, before=known))
        rows.append(row("8-grams of characters, modified Kneser-Ney", ngram, seconds))
        xz, seconds = timed(lambda: xz_bits(known, parts.test))
        rows.append(row("xz", xz, seconds))
    data = f"Shakespeare: {len(text):,} characters, the last 5 % to test on; {SHAKESPEARE.credit}"
    finish(given, "shakespeare", "bits a character", data, rows)
    print(f"\nROMEO.{sample}")
    if not bits <= MOST:
        raise SystemExit(f"error: {bits:.3f} bits a character, expected at most {MOST}")


if __name__ == "__main__":
    main()
