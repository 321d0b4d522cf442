"""A callback for runs of several processes: do they still hold the same codes?"""

from lightning.pytorch import Callback


class SameWeights(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        codes = pl_module.net.quantiser.codebook.weight.detach()
        everywhere = pl_module.all_gather(codes)
        assert everywhere.shape[0] == trainer.world_size
        assert (everywhere == codes).all()
        if trainer.is_global_zero:
            print(f"same codes on {trainer.world_size} processes", flush=True)
