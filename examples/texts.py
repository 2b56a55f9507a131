"""A classifier of texts from the Hugging Face hub, taught to a small network that reads bytes.

Run it by `python examples/texts.py FOLDER TRAIN.csv TEST.csv`: FOLDER is what save_pretrained wrote, or a download of a
repository; the tables have the columns text and label, with the labels that the model's settings name. It needs
`pip install 'limbeck[hf]'`.

Only 500 of the labels are used: the teacher answers about the other texts as well. The student has no tokenizer and no
table of words.
"""

import sys

import limbeck
from limbeck.data import Rows
from limbeck.models import TextCnn
from limbeck.teachers import HubTeacher
from limbeck.training import AdamW, Fit

folder, train, test = sys.argv[1:]

result = limbeck.distill(
    teacher=HubTeacher(path=folder),
    student=TextCnn(width=16, channels=(64, 64), dropout=0.2),
    train=Rows(path=train, test=test, label="label", roles={"text": "text"}, text_bytes=256),
    labelled=500,
    fit=Fit(epochs=10, batch_size=64, optimizer=AdamW(lr=0.002), threads=1),
    temperature=2.0,
    seeds=3,
    out="runs/texts",
    overwrite=True,
)
print(result)
