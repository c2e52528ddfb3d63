"""RunConfig: everything that defines one training run, and nothing that does not. A file a section.

Two runs with equal RunConfigs on the same data, code and number of workers end with the same
weights. What cannot change a result (devices, folders, log verbosity) is therefore not here, but
for `NO_PART_OF_A_RESULT`.
Choices the paper leaves open are marked *our choice*; docs/method.md gives the reasons.
"""

from supclap.config.data import ArraysConfig, AugmentConfig, DataConfig, OrderConfig
from supclap.config.loss import LossConfig, SVRConfig, TermConfig
from supclap.config.measured import AlsoConfig, MetricConfig, SelectConfig
from supclap.config.model import AudioConfig, HeadConfig, LoRAConfig, ModelConfig, TextConfig
from supclap.config.optimizer import OptimizerConfig, ScheduleConfig
from supclap.config.run import (
    NO_PART_OF_A_RESULT,
    RunConfig,
    load_config,
    parse_config,
    parse_stored,
)
from supclap.config.values import FEATURES, LANGUAGES

__all__ = [
    "FEATURES",
    "LANGUAGES",
    "NO_PART_OF_A_RESULT",
    "AlsoConfig",
    "ArraysConfig",
    "AudioConfig",
    "AugmentConfig",
    "DataConfig",
    "HeadConfig",
    "LoRAConfig",
    "LossConfig",
    "MetricConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OrderConfig",
    "RunConfig",
    "SVRConfig",
    "ScheduleConfig",
    "SelectConfig",
    "TermConfig",
    "TextConfig",
    "load_config",
    "parse_config",
    "parse_stored",
]
