"""Distillation losses: of one pair of feature maps, of raw predictions, and of all tapped layers together."""

from .feature_loss import FeatureLoss
from .layer_losses import FEATURE_LOSSES, CWDLoss, LossOptions, LossSpec, MGDLoss, MimicLoss, PKDLoss, standardise
from .logit import LogitLoss
