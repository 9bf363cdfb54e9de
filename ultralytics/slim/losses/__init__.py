"""Distillation losses: of one pair of feature maps, of raw predictions, and of all tapped layers together."""

from .feature_loss import FeatureLoss from .layer_losses import FEATURE_LOSSES from .layer_losses import CWDLoss from .layer_losses import LossOptions from .layer_losses import LossSpec from .layer_losses import MGDLoss from .layer_losses import MimicLoss from .layer_losses import PKDLoss from .layer_losses import standardise from .logit import LogitLoss
