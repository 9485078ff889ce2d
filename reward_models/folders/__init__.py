"""Models on disk: native, Hugging Face and PEFT folders, and GGUF files. `open_model` reads any of them."""

from reward_models.folders.native import ModelFolderError as ModelFolderError
from reward_models.folders.opening import Model as Model
from reward_models.folders.opening import open_model as open_model
