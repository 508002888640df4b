from functools import partial

import pytest
from lightning.pytorch import Trainer


@pytest.fixture
def trainer(tmp_path, one_thread):
    return partial(
        Trainer,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture
def lightning_remarks(recwarn):
    """Ignore the warnings of Lightning that the command line ignores."""
    from involution.cli.lightning.recipe import quiet

    quiet()
