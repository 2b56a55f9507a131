"""Tiny models in the form of the Hugging Face hub, made on the spot with random weights."""

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from limbeck.data import key_examples

NAMES = ("a", "b", "c")
SENTENCES = (
    "the teacher knows what the student does not",
    "a quick student asks",
    "Doubts are worth more than answers, sometimes.",
    "x",
    "the more a student is asked the less a teacher knows: asked and asked again",
    "",
)


def bytes_of(texts, length=96):
    """Texts as they are stored: UTF-8 filled up with zeros."""
    rows = torch.zeros(len(texts), length, dtype=torch.uint8)
    for row, text in zip(rows, texts, strict=True):
        encoded = text.encode()[:length]
        row[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
    return rows


def texts(count=12, classes=NAMES, length=96):
    """Different texts of different lengths."""
    said = [f"{SENTENCES[n % 5]} {n}" if n % 6 else SENTENCES[-1] + f" {n}" for n in range(count)]
    return key_examples(bytes_of(said, length), torch.arange(count) % len(classes), classes)


def pictures(count=12, channels=3, side=40, classes=NAMES):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return key_examples(inputs, torch.arange(count) % len(classes), classes)


def reader():
    """A WordPiece tokenizer of a few words and all letters."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, "0 1 2 3 4 5 6 7 8 9"], trainer)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def settings(names=NAMES):
    return {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}


def saved(folder, config, auto, seed=1):
    """Random weights, far enough from each other that answers differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(config)
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.eval()


def vit(folder, names=NAMES, side=16, processor=True, **more):
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=side, patch_size=8, **size, **settings(names), **more)
    if processor:
        picture = {"height": side, "width": side}
        transformers.ViTImageProcessorPil(size=picture, image_mean=[0.4, 0.5, 0.6]).save_pretrained(folder)
    return saved(folder, config, transformers.AutoModelForImageClassification)


def resnet(folder, names=NAMES):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.update(settings(names))
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 28}, resample=2).save_pretrained(folder)
    return saved(folder, config, transformers.AutoModelForImageClassification)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def sequence(folder, kind="bert", names=NAMES, most=64, **more):
    """A classifier of texts, with its tokenizer."""
    tokenizer = reader()
    tokens = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0, **settings(names), **more}
    if kind == "bert":
        config = transformers.BertConfig(**SMALL, max_position_embeddings=most, **tokens)
    elif kind == "distilbert":
        config = transformers.DistilBertConfig(
            dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=most, **tokens
        )
    elif kind == "roberta":
        config = transformers.RobertaConfig(**SMALL, max_position_embeddings=most, **tokens)
    else:
        config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=most, **tokens)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    wrapped.save_pretrained(folder)
    return saved(folder, config, transformers.AutoModelForSequenceClassification)
