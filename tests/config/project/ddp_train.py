"""A real Lightning run over two CPU processes, as small as it gets; with seed=2 the second process fails alone."""

import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from lfvar.config import command, run_folder
from lfvar.errors import DataError


@command("train", config_folder=Path(os.environ.get("TINY_CONF", Path(__file__).parent / "conf")))
def main(cfg: DictConfig) -> None:
    import lightning
    import torch
    from lightning.pytorch.demos.boring_classes import BoringModel

    class Fails(BoringModel):
        def on_train_batch_end(self, *args: object) -> None:
            if self.global_rank == 1:
                raise DataError("image ISIC_001 is damaged", cure="run lfvar.prepare")

    torch.set_num_threads(1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Fails() if cfg.seed == 2 else BoringModel())
    (run_folder(cfg) / f"rank_{trainer.global_rank}.txt").write_text(str(cfg.seed))


if __name__ == "__main__":
    sys.exit(main())
