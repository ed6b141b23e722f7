"""Three small models as users of ``torch.nn.GRU`` write them, each with made data and its loss, to convert and compare.

They know nothing of Grus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

__all__ = ["CASES", "ActorCritic", "Case", "SpeechEnhancer", "TextClassifier", "train"]


class SpeechEnhancer(nn.Module):
    """A mask over the spectrogram of noisy speech, frame by frame: waveform [B, samples] to waveform [B, samples]."""

    def __init__(self, window: int = 256, hidden_size: int = 128) -> None:
        super().__init__()
        self.window = window
        bins = window // 2 + 1
        self.encode = nn.Sequential(nn.Linear(bins, hidden_size), nn.ReLU())
        self.gru = nn.GRU(hidden_size, hidden_size, num_layers=2, batch_first=True)
        self.mask = nn.Linear(hidden_size, bins)
        self.register_buffer("hann", torch.hann_window(window))

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = torch.stft(wave, self.window, window=self.hann, return_complex=True).transpose(1, 2)  # [B, T, bins]
        features = self.encode(torch.log1p(spectrum.abs()))
        states, _ = self.gru(features)
        cleaned = spectrum * torch.sigmoid(self.mask(states))
        return torch.istft(cleaned.transpose(1, 2), self.window, window=self.hann, length=wave.shape[1])


class TextClassifier(nn.Module):
    """Documents of many lengths to classes: tokens [B, T] and lengths [B], in any order, to logits [B, classes]."""

    def __init__(self, words: int = 200, classes: int = 4, hidden_size: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, 32, padding_idx=0)
        self.gru = nn.GRU(32, hidden_size, num_layers=2, batch_first=True, dropout=0.2, bidirectional=True)
        self.classify = nn.Linear(2 * hidden_size, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.gru(packed)
        return self.classify(torch.cat([h_n[-2], h_n[-1]], dim=1))


class ActorCritic(nn.Module):
    """A policy with a memory that an episode's end wipes, as PPO trains it over rollouts of several episodes."""

    def __init__(self, observations: int = 8, actions: int = 4, hidden_size: int = 64) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(observations, hidden_size), nn.Tanh())
        self.cell = nn.GRUCell(hidden_size, hidden_size)
        self.actor = nn.Linear(hidden_size, actions)
        self.critic = nn.Linear(hidden_size, 1)

    def forward(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations [T, B, O], ``starts`` [T, B], 1 where an episode begins, and the state [B, H] before.

        To logits [T, B, actions], values [T, B] and the state after.
        """
        states = []
        for features, start in zip(self.encode(observations), starts, strict=True):
            state = self.cell(features, state * (1 - start).unsqueeze(1))
            states.append(state)
        memory = torch.stack(states)
        return self.actor(memory), self.critic(memory).squeeze(-1), state


class Case(NamedTuple):
    """A model to make, its batches, and the loss of one; ``batch(step)`` gives the same data every time."""

    make: Callable[[], nn.Module]
    batch: Callable[[int], tuple[Tensor, ...]]
    outputs: Callable[[nn.Module, Sequence[Tensor]], tuple[Tensor, ...]]
    loss: Callable[[nn.Module, Sequence[Tensor]], Tensor]
    learning_rate: float


def _generator(step: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + step)


def _speech(step: int, batch: int = 4, samples: int = 2048) -> tuple[Tensor, ...]:
    """Voices, a few harmonics of a gliding pitch that swells and fades, and the same with noise. 8 kHz."""
    g = _generator(step)
    time = torch.arange(samples) / 8000
    pitch = 100 + 150 * torch.rand(batch, 1, generator=g) + 40 * torch.sin(2 * torch.pi * 3 * time)
    phase = 2 * torch.pi * pitch.cumsum(1) / 8000
    swell = torch.sin(2 * torch.pi * (4 * time + torch.rand(batch, 1, generator=g))).clamp(min=0)
    clean = swell * sum(torch.sin(k * phase) / k for k in range(1, 8)) * 0.3
    return clean, clean + 0.2 * torch.randn(batch, samples, generator=g)


def _speech_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    clean, noisy = batch
    return functional.l1_loss(model(noisy), clean)


def _text(step: int, batch: int = 16, longest: int = 24) -> tuple[Tensor, ...]:
    """Documents whose class is told by the word in the middle; 0 is padding."""
    g = _generator(step)
    lengths = torch.randint(5, longest + 1, (batch,), generator=g)
    tokens = torch.randint(5, 200, (batch, longest), generator=g)
    classes = torch.randint(0, 4, (batch,), generator=g)
    for row, length in enumerate(lengths.tolist()):
        tokens[row, length // 2] = 1 + classes[row]
        tokens[row, length:] = 0
    return tokens, lengths, classes


def _text_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    tokens, lengths, classes = batch
    return functional.cross_entropy(model(tokens, lengths), classes)


def _rollout(step: int, batch: int = 8, steps: int = 32) -> tuple[Tensor, ...]:
    """Episodes of about ten steps: the action to take is the cue shown at the episode's start, all along."""
    g = _generator(step)
    starts = (torch.rand(steps, batch, generator=g) < 0.1).float()
    cues = torch.randint(0, 4, (steps, batch), generator=g)
    observations = 0.1 * torch.randn(steps, batch, 8, generator=g)
    starts[0] = 1
    actions = torch.zeros(steps, batch, dtype=torch.long)
    for t in range(steps):
        actions[t] = torch.where(starts[t] > 0, cues[t], actions[t - 1])
    observations[..., :4] += functional.one_hot(cues, 4) * starts[..., None]
    returns = torch.rand(steps, batch, generator=g) + 0.5
    return observations, starts, torch.zeros(batch, 64), actions, returns


def _policy_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    observations, starts, state, actions, returns = batch
    logits, values, _ = model(observations, starts, state)
    policy = torch.distributions.Categorical(logits=logits)
    advantage = (returns - values).detach()
    loss = -(policy.log_prob(actions) * advantage.clamp(min=0.1)).mean() + 0.5 * functional.mse_loss(values, returns)
    return loss - 0.01 * policy.entropy().mean()


CASES: dict[str, Case] = {
    "speech enhancer": Case(
        SpeechEnhancer, _speech, lambda model, batch: (model(batch[1]),), _speech_loss, learning_rate=1e-3
    ),
    "text classifier": Case(
        TextClassifier, _text, lambda model, batch: (model(*batch[:2]),), _text_loss, learning_rate=3e-3
    ),
    "actor-critic": Case(
        ActorCritic, _rollout, lambda model, batch: tuple(model(*batch[:3])), _policy_loss, learning_rate=3e-3
    ),
}


def train(model: nn.Module, case: Case, steps: int) -> list[float]:
    """The loss before each step of Adam; dropout draws from the same seed every time."""
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), case.learning_rate)
    losses: list[float] = []
    for step in range(steps):
        optimiser.zero_grad()
        loss: Any = case.loss(model, case.batch(step))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses
