"""Quick start: find the LZMA settings that compress a real text best. Needs nothing but fasthpo; takes seconds."""

import argparse
import inspect
import lzma

import fasthpo

text = inspect.getsource(argparse).encode()  # 100 kB that every Python has
space = fasthpo.SearchSpace(
    {
        "lc": fasthpo.Discrete(0, 4),  # bits of the previous byte that predict the next one
        "pb": fasthpo.Discrete(0, 4),  # bits of the position that do
        "nice_len": fasthpo.Discrete(5, 273, log=True),  # a match so long is good enough
        "mf": fasthpo.Categorical([lzma.MF_HC3, lzma.MF_HC4, lzma.MF_BT2, lzma.MF_BT3, lzma.MF_BT4]),
    }
)
study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
for _ in range(60):
    trial = study.ask()
    study.tell(trial, len(lzma.compress(text, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, **trial}])))

default = len(lzma.compress(text, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]))
print(f"{len(text)} bytes, compressed to {default} by default, to {study.best_value:.0f} with {study.best_params}")
