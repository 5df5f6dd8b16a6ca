#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a text file into a C header with one string: embed.py INPUT OUTPUT NAME."""

import sys

ESCAPES = {"\\": "\\\\", '"': '\\"'}


def main():
    source, target, name = sys.argv[1:]
    with open(source, encoding="ascii") as file:
        lines = file.read().splitlines()
    with open(target, "w", encoding="ascii") as file:
        file.write(f"static const char {name}[] =\n")
        for line in lines:
            file.write('\t"' + "".join(ESCAPES.get(c, c) for c in line) + '\\n"\n')
        file.write(";\n")


main()
