"""A small BERT, trained from nothing on AG News and saved as the hub has it, for examples/texts.py to teach from.

    python bench/hub_texts.py DIR OUT
    python examples/texts.py OUT/teacher OUT/train.csv OUT/test.csv

DIR holds AG News: train_subset.csv.gz, of which the first rows of the official training file are taken, and
test.csv.gz, which is not looked at here.
"""

import csv
import gzip
import io
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

NAMES = ("World", "Sports", "Business", "Sci/Tech")
TOKENS, EPOCHS, BATCH, RATE = 64, 4, 32, 1e-3
SIZE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}


def rows_of(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(io.StringIO(file.read())))


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def reader_of(texts: list[str]) -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=TOKENS,
        unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
    )  # fmt: skip


def trained(reader: transformers.PreTrainedTokenizerFast, texts: list[str], labels: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: place for place, name in enumerate(NAMES)}}
    config = transformers.BertConfig(vocab_size=len(reader), max_position_embeddings=TOKENS, **SIZE, **names)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    steps = EPOCHS * (len(texts) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    model.train()
    for epoch in range(EPOCHS):
        begin, losses = time.perf_counter(), []
        for batch in torch.randperm(len(texts)).split(BATCH)[: len(texts) // BATCH]:
            seen = reader([texts[place] for place in batch], padding=True, truncation=True, return_tensors="pt")
            loss = F.cross_entropy(
                model(input_ids=seen["input_ids"], attention_mask=seen["attention_mask"]).logits, labels[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}, {time.perf_counter() - begin:.0f} s", flush=True)
    return model


directory, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
header, *rows = rows_of(directory / "train_subset.csv.gz")
train = [(f"{title}. {text}", NAMES[int(label) - 1]) for source, label, title, text in rows if source == "orig_prefix"]
test = [(f"{title}. {text}", NAMES[int(label) - 1]) for label, title, text in rows_of(directory / "test.csv.gz")]
write(out / "train.csv", train)
write(out / "test.csv", test)
texts = [text for text, _ in train]
reader = reader_of(texts)
model = trained(reader, texts, torch.tensor([NAMES.index(label) for _, label in train]))
reader.save_pretrained(out / "teacher")
model.save_pretrained(out / "teacher")
