"""Keras 3's `keras.distillation.Distiller`, on the backend that KERAS_BACKEND names.

Teacher and student are the others' networks to the last weight: zero padding as in PyTorch, and the teacher's weights
turned from [C, H, W] to Keras's [H, W, C]. The loss is a KLDivergence object: the default, the name "kl_divergence",
becomes a function in Keras 3.15, and is then applied to logits as if they were probabilities.
"""

import os
from typing import Any

import numpy as np
from common import ALPHA, BATCH_SIZE, LEARNING_RATE, STUDENT, TEACHER, TEMPERATURE, Clock, arguments, load, report
from safetensors.numpy import load_file


def main() -> None:
    options = arguments("Keras on the classic MNIST pair")
    limit_threads(options.threads)
    import keras

    keras.utils.set_random_seed(options.seed)
    x, y, x_test, y_test = load(options.data)
    teacher, student = convnet(keras, *TEACHER), convnet(keras, *STUDENT)
    take_weights(teacher, load_file(options.teacher / "model.safetensors"))
    inputs, test_inputs = (images[..., None].astype("float32") / 255 for images in (x, x_test))
    teacher_right = (teacher.predict(test_inputs[:1000], verbose=0).argmax(1) == y_test[:1000]).mean()
    assert teacher_right > 0.95, f"the teacher's weights went astray: accuracy {teacher_right}"

    clock = Clock()
    distiller = keras.distillation.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=keras.distillation.LogitsDistillation(
            temperature=TEMPERATURE, loss=keras.losses.KLDivergence()
        ),
        student_loss_weight=ALPHA,
    )
    distiller.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    laps = keras.callbacks.LambdaCallback(on_epoch_end=clock.lap)
    distiller.fit(inputs, y.astype("int32"), epochs=options.epochs, batch_size=BATCH_SIZE, verbose=0, callbacks=[laps])
    times = clock.stop()

    predicted = student.predict(test_inputs, batch_size=1000, verbose=0).argmax(1)
    report(
        f"Keras on {keras.backend.backend()}",
        times=times,
        correct=int((predicted == y_test).sum()),
        epochs=options.epochs,
        versions={"keras": keras.__version__},
        threads=options.threads,
    )


def convnet(keras: Any, first: int, second: int) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            # "same" would pad the even side at its end, PyTorch pads both ends: one row of zeros in front is the same.
            layers.ZeroPadding2D(((1, 0), (1, 0))),
            layers.Conv2D(first, 3, strides=2),
            layers.LeakyReLU(negative_slope=0.2),
            layers.MaxPooling2D(2, strides=1),
            layers.Conv2D(second, 3, strides=2, padding="same"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def take_weights(model: Any, tensors: dict[str, np.ndarray]) -> None:
    head = tensors["head.weight"].reshape(10, -1, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 10)
    model.set_weights(
        [
            tensors["conv1.weight"].transpose(2, 3, 1, 0),
            tensors["conv1.bias"],
            tensors["conv2.weight"].transpose(2, 3, 1, 0),
            tensors["conv2.bias"],
            head,
            tensors["head.bias"],
        ]
    )


def limit_threads(threads: int) -> None:
    """Each backend has its own word for it; XLA takes all the cores that the process may use."""
    backend = os.environ["KERAS_BACKEND"]
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)
    elif backend == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    elif hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))


if __name__ == "__main__":
    main()
