"""The base of neural families: from a fit of several targets to a network, and its file.

A kept model is a `.npz` (numpy's archive, read without pickle): the weights under `weights/<name>`,
the preparation of columns under `preparation/<name>`, what else the network is built from under
`extra/<name>`, `params`, the params, and `link`, what the logits stand for, as JSON.
"""

from __future__ import annotations

import json
import zipfile
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.families.objectives import positive_weights
from blendmake.family import Family, Fit, Fitted, Predictions, Smaller, refused
from blendmake.files import damaged, digest_of, replacing
from blendmake.link import Link
from blendmake.matrix import Rows
from blendmake.neural.checkpoints import Checkpoints
from blendmake.neural.data import SCALINGS, Blocks, Feeder, Preparation
from blendmake.neural.layers import Network
from blendmake.neural.losses import Loss, capped_weights, start_at
from blendmake.neural.params import Check, checked, choice, real
from blendmake.neural.trainer import (
    CHECKS,
    DEFAULTS,
    Trainer,
    device_of,
    predict,
    repeatable,
    watched,
)
from blendmake.seeds import derive_seed

Extra = dict[str, NDArray[Any]]


class NeuralFamily(Family):
    """What the neural families share; a family says what its network is."""

    MULTI_OUTPUT = True
    PACKAGES: ClassVar[tuple[str, ...]] = ("torch", "pytorch-optimizer", "scipy")
    ROUNDS = 60  # epochs at most
    RESUMES = True
    REPORTS = True
    GPU = True
    SMALLER = Smaller("batch_size", DEFAULTS["batch_size"], 8)
    CHECKS: ClassVar[dict[str, Check]] = {
        **CHECKS,
        "scaling": choice(*SCALINGS),
        "buffer_mb": real(above=True),
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {**DEFAULTS, "scaling": "robust", "buffer_mb": 256}
    ALIASES: ClassVar[dict[str, str]] = {"lr": "learning_rate", "grad_clip": "gradient_clip"}
    RESERVED: ClassVar[dict[str, str]] = {
        "epochs": "use the source's key 'rounds'",
        "max_epochs": "use the source's key 'rounds'",
        "n_epochs": "use the source's key 'rounds'",
        "patience": "use the source's key 'early_stopping'",
        "early_stopping": "use the source's key 'early_stopping'",
        "pos_weight": "use the source's key 'class_weight', or the param 'pos_weight_cap'",
        "class_weight": "use the source's key 'class_weight'",
        "seed": "use the problem's seed",
        "random_state": "use the problem's seed",
        "num_threads": "threads belong to the profile (set-threads)",
        "n_threads": "threads belong to the profile (set-threads)",
    }

    _prepared: tuple[Any, Preparation] | None = None

    @staticmethod
    @abstractmethod
    def network(
        params: Mapping[str, Any], preparation: Preparation, outputs: int, extra: Mapping[str, Any]
    ) -> Network:
        """A network with new weights."""

    @staticmethod
    def extra(params: Mapping[str, Any], preparation: Preparation, rows: Rows) -> Extra:
        """What else the network needs to know of the training rows."""
        return {}

    @staticmethod
    def members(params: Mapping[str, Any]) -> int:
        """Members that get batches of their own; 1 if all get the same."""
        return 1

    def fit(self, asked: Fit) -> Fitted:
        params = checked(asked, self.params(asked), self.CHECKS)
        labelled = np.flatnonzero((~np.isnan(asked.labels)).any(axis=1))
        if len(labelled) < 2:
            raise BlendmakeError(f"The fit of {asked.title} needs two training rows with a label.")
        # Rows without any label count for nothing, the scale of columns included.
        rows = replace(self.data.train, positions=self.data.train.positions[labelled])
        labels = asked.labels[labelled]
        row_weights = None if asked.weights is None else asked.weights[labelled]
        device = device_of(self.gpu)
        link = Link.of(asked)
        assert asked.scratch is not None
        with repeatable(self.threads):
            preparation = self._preparation(rows, params["scaling"])
            extra = self.extra(params, preparation, rows)
            torch.manual_seed(derive_seed(asked.seed, "weights"))
            try:
                network = self.network(params, preparation, asked.outputs, extra)
            except (TypeError, ValueError) as error:
                raise refused(asked, error) from error
            positives = positive_weights(asked)
            if params["pos_weight_cap"] is not None and asked.task == "binary":
                positives = capped_weights(labels, params["pos_weight_cap"])
            start = start_at(link, labels, positives)
            network.set_bias(torch.tensor(start, dtype=torch.float32))
            network.to(device)
            bound = int(params["buffer_mb"] * 2**20)
            given = link.given(labels)
            weighed = row_weights is not None and positives is None
            if row_weights is not None and weighed:
                given = np.hstack([given, row_weights.astype(np.float32)])
            feeder = Feeder(
                rows,
                given,
                preparation,
                batch_size=params["batch_size"],
                buffer_bytes=bound,
                seed=derive_seed(asked.seed, "order"),
                device=device,
                members=self.members(params),
            )
            of_positives = None
            if positives is not None:
                of_positives = torch.tensor(positives, dtype=torch.float32, device=device)
            stop = self.data.stop
            blocks = None if stop is None else Blocks(stop, preparation, device, bound // 4)
            trained = Trainer(
                network,
                feeder,
                asked,
                params,
                link,
                Loss(link, of_positives, params["label_smoothing"], weighed=weighed),
                watched(blocks, asked),
                Checkpoints(asked.scratch / "checkpoint.pt", self._key(asked, params, device)),
            ).run()
            valid, test = (
                predict(network, Blocks(part, preparation, device), link)
                for part in (self.data.valid, self.data.test)
            )
        state = {name: value.cpu().numpy() for name, value in network.state_dict().items()}

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".npz")
            stored = {
                **{f"weights/{name}": value for name, value in state.items()},
                **{f"preparation/{n}": value for n, value in preparation.to_arrays().items()},
                **{f"extra/{name}": value for name, value in extra.items()},
                "params": np.array(json.dumps(params)),
                "link": np.array(link.to_json()),
            }
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, allow_pickle=False, **stored)
            return path

        return Fitted(valid, test, trained.epochs, save, trained.stop_scores, device=device.type)

    def release(self) -> None:
        torch.cuda.empty_cache()  # nothing where there is no CUDA

    def _preparation(self, rows: Rows, scaling: str) -> Preparation:
        key = (scaling, rows.positions.tobytes())
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, Preparation.learn(rows, scaling)
        return self._prepared[1]

    def _key(self, asked: Fit, params: Mapping[str, Any], device: torch.device) -> str:
        """What a checkpoint must have been made with to be gone on from."""
        weights = None if asked.weights is None else digest_of(asked.weights.tobytes().hex())
        stop = None if asked.stop is None else [asked.stop.metric.name, asked.stop.rounds]
        return digest_of(
            [
                self.__class__.__name__,
                dict(params),
                [[target.name, *target.outputs] for target in asked.targets],
                [asked.rounds, stop, asked.seed, self.threads],
                [str(torch.__version__), device.type, weights],
            ]
        )


def predict_network(
    family: type[NeuralFamily], path: Path, rows: Rows, threads: int
) -> Predictions:
    """Predictions (rows, outputs) of a saved network for rows of its feature set."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error

    def below(part: str) -> dict[str, Any]:
        return {
            name.partition("/")[2]: value
            for name, value in stored.items()
            if name.startswith(f"{part}/")
        }

    preparation = Preparation.from_arrays(below("preparation"))
    params, link = json.loads(str(stored["params"])), Link.from_json(str(stored["link"]))
    device = torch.device("cpu")
    with repeatable(threads):
        network = family.network(params, preparation, sum(link.sizes), below("extra"))
        network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in below("weights").items()}
        )
        network.to(device)
        return predict(network, Blocks(rows, preparation, device), link)
