"""Train a scikit-learn model on handwritten digits and log every batch. Needs a running stack (`make up`).

python examples/sklearn_digits.py --learning-rate 0.01 --epochs 20
"""

import argparse

import numpy as np
import runstream
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

SEED = 7


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", help="address of the stack; default RUNSTREAM_URL, or else localhost:5050")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--alpha", type=float, default=1e-4, help="weight of the L2 penalty")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    model = SGDClassifier(
        loss="log_loss",
        learning_rate="constant",
        eta0=options.learning_rate,
        alpha=options.alpha,
        random_state=SEED,
    )
    shuffle = np.random.default_rng(SEED)

    runstream.init(options.url)
    with runstream.start_run(experiment="sklearn-digits") as run:
        runstream.log_params({key: value for key, value in vars(options).items() if key != "url"})
        runstream.log_input(
            "digits", f"{len(images)}x{images.shape[1]}", source="sklearn.datasets.load_digits"
        )
        step = 0
        for epoch in range(options.epochs):
            order = shuffle.permutation(len(train_x))
            for start in range(0, len(order), options.batch_size):
                batch = order[start : start + options.batch_size]
                model.partial_fit(train_x[batch], train_y[batch], classes=np.unique(labels))
                loss = log_loss(train_y[batch], model.predict_proba(train_x[batch]), labels=model.classes_)
                runstream.log_metric("train/loss", loss, step)
                step += 1
            runstream.log_metrics(
                {
                    "valid/accuracy": model.score(valid_x, valid_y),
                    "valid/loss": log_loss(valid_y, model.predict_proba(valid_x), labels=model.classes_),
                },
                step=epoch,
            )
        # Arrays go as they are, without a call a value.
        runstream.log_series("weights/norm_by_class", np.linalg.norm(model.coef_, axis=1))
    print(f"run {run.run_id} ({run.name}): {run.end()}")


if __name__ == "__main__":
    main()
