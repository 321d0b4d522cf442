"""A command like lfvar.train, over the configs beside it; TINY_TASK says what it does."""

import json
import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from lfvar.config import command, finish_card, run_folder, start_card
from lfvar.errors import DataError


@command("train", config_folder=Path(os.environ.get("TINY_CONF", Path(__file__).parent / "conf")))
def main(cfg: DictConfig) -> float | None:
    task = os.environ.get("TINY_TASK", "say")
    if task == "say":
        facts = {"folder": str(run_folder(cfg)), "lr": cfg.optim.lr, "argv": sys.argv[1:], "seed": cfg.seed}
        facts["environment"] = {k: os.environ.get(k) for k in ("NO_ALBUMENTATIONS_UPDATE", "WANDB_MODE")}
        print("FACTS " + json.dumps(facts), flush=True)
    elif task == "fail":
        raise DataError("mask for ISIC_001 not found", cure="run lfvar.prepare")
    elif task == "fail_seed_2":
        if cfg.seed == 2:
            raise DataError("mask for ISIC_001 not found", cure="run lfvar.prepare")
    elif task == "bug":
        raise RuntimeError("a bug of ours")
    elif task == "interrupt":
        raise KeyboardInterrupt
    elif task == "score":
        folder = run_folder(cfg)
        start_card(cfg, folder)
        if cfg.seed == 3:
            raise DataError("the loss became NaN", cure="a lower optim.lr")
        score = -((cfg.optim.lr - 0.3) ** 2)
        finish_card(folder, metrics={"best/score": score, "val/score": score - cfg.seed}, seconds=1.0)
        return score
    elif task == "card":
        folder = run_folder(cfg)
        start_card(cfg, folder, data_hashes={"manifest": "abc"})
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").write_text("")
        print("FACTS " + json.dumps({"folder": str(folder), "lr": cfg.optim.lr, "seed": cfg.seed}), flush=True)
    elif task == "ranks":
        import ranks

        ranks.run(cfg)
    return float(cfg.optim.lr)


if __name__ == "__main__":
    sys.exit(main())
