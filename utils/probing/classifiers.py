"""The classifiers behind every probe: scikit-learn's, with the scaling inside.

Features of unequal scale keep logistic regression from converging and make its penalty mean
something else for each feature, so the scaler is fitted with the probe, on the same rows.
"""

from __future__ import annotations

from typing import Any


def linear(seed: int = 0, l2: float = 1.0) -> Any:
    """Multinomial logistic regression on standardised features, unfitted.

    l2: strength of the penalty on the weights; scikit-learn's C is its inverse.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=1 / l2, max_iter=1000, random_state=seed)
    return make_pipeline(StandardScaler(), classifier)


def mlp(width: int, seed: int = 0, l2: float = 1e-4) -> Any:
    """One hidden layer of `width` ReLU neurons on standardised features, unfitted.

    No early stopping: on a few hundred rows it ends long before the probe knows what it can know,
    and a weak non-linear probe would call a concept erased that is still there.
    """
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = MLPClassifier(
        (width,), alpha=l2, learning_rate_init=3e-3, max_iter=200, random_state=seed
    )
    return make_pipeline(StandardScaler(), classifier)


def fitted(probe: Any, x: Any, y: Any) -> Any:
    """`probe.fit(x, y)` on one thread, without the warning that it could be fitted longer.

    A non-linear probe always could; 200 passes over the rows are the budget, and the report says
    so. One thread: these matrices are small, and threads that wait for each other on a busy machine
    made the same fit sixty times slower.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer", ConvergenceWarning)
        return probe.fit(x, y)
