"""A spec as a PyTorch network: the same blocks, the same array names, ready to train.

May import: ``grus.torch``'s layer, ``grus.spec`` and ``grus.model``; ``recurrence`` only through the layer.
Begin with :class:`Network`; ``modules`` has a class for each block, ``peers`` other layers to compare with.
"""

from grus.torch.network.modules import Builder, Regularisation
from grus.torch.network.network import Network, from_model, to_model

__all__ = ["Builder", "Network", "Regularisation", "from_model", "to_model"]
