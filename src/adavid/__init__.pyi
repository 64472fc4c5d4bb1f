"""What `adavid` exports, and where it lives: `__init__.py` reads this list too."""

from .actions import ActionSpace as ActionSpace
from .actions import PatchGrid as PatchGrid
from .config import nearest as nearest
from .cost import Ledger as Ledger
from .cost import price as price
from .data.batch import VideoBatch as VideoBatch
from .data.batch import View as View
from .data.datamodule import VideoDataModule as VideoDataModule
from .data.dataset import SPLITS as SPLITS
from .data.dataset import VideoRecord as VideoRecord
from .data.sources import list_media as list_media
from .data.sources import media_by_name as media_by_name
from .data.transforms import cut_patches as cut_patches
from .data.transforms import resize_frames as resize_frames
from .losses import cross_entropy as cross_entropy
from .losses import loss_of_every_step as loss_of_every_step
from .method import AdaptiveMethod as AdaptiveMethod
from .method import CausalMethod as CausalMethod
from .method import Chunk as Chunk
from .method import MethodOutput as MethodOutput
from .networks.backbones import Backbone as Backbone
from .networks.backbones import BackboneSpec as BackboneSpec
from .networks.backbones import FrameClassifier as FrameClassifier
from .networks.backbones import build_backbone as build_backbone
from .networks.backbones import by_size as by_size
from .networks.backbones import clip_view as clip_view
from .networks.recurrent import RecurrentClassifier as RecurrentClassifier
from .policy_gradient import discounted_returns as discounted_returns
from .policy_gradient import ppo_loss as ppo_loss
from .policy_gradient import reinforce_loss as reinforce_loss
from .routing import UsedMean as UsedMean
from .routing import draw_actions as draw_actions
from .routing import hold_skips as hold_skips
from .routing import mean_of_used as mean_of_used
from .routing import no_frames as no_frames
from .routing import run_on_frames as run_on_frames
from .routing import run_on_rows as run_on_rows
from .routing import run_over_time as run_over_time
from .stage import Stage as Stage

__version__: str
