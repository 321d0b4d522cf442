"""The smallest tokenizer worth training, as overrides of the shipped experiment."""

TINY = [
    "experiment=vqvae",
    "image_size=16",
    "model.patch_nums=[1,2]",
    "model.channels=16",
    "model.vocab_size=32",
    "model.latent_channels=4",
    "codebook.init_step=3",
    "codebook.init_images=20",
    "data.source.num_images=70",
    "data.source.size=32",
    "data.split.val_fraction=0.3",
    "data.loader.batch_size=8",
    "data.loader.num_workers=0",
    "trainer=cpu",
    "trainer.max_steps=10",
    "trainer.val_check_interval=5",
    "callbacks.grid.num_images=2",
]
