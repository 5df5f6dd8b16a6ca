# SPDX-License-Identifier: Apache-2.0
"""manifest.json: where it is, what it is, and what it says."""

import json

import build
from build import directory, executable, file, link
from case import gz, manifest, package

INVALID = "manifest_invalid"
BAD_TYPE = ["manifest_invalid", "name_invalid"]
HEX = "0123456789abcdef" * 4


def make(corpus):
    places(corpus)
    kinds(corpus)
    texts(corpus)
    values(corpus)
    types(corpus)
    accepted(corpus)


def packed(entries):
    return gz(build.tar_pax(entries))


def with_text(text):
    data = text if isinstance(text, bytes) else text.encode()
    return packed([file("manifest.json", data), executable("bin/run")])


def with_values(**values):
    return with_text(json.dumps({"entry_module": "refused", **values}))


def places(corpus):
    run, text = executable("bin/run"), manifest("refused").data
    cases = {
        "missing": [run],
        "missing-from-an-empty-directory": [directory("top")],
        "two-directories-down": [file("a/b/manifest.json", text), file("a/run", b"1")],
        "three-directories-down": [file("a/b/c/manifest.json", text)],
        "in-one-of-two-top-directories": [file("a/manifest.json", text), file("b/run", b"1")],
        "in-both-of-two-top-directories": [file("a/manifest.json", text),
                                           file("b/manifest.json", text)],
        "below-a-top-with-a-file-beside-it": [file("a/manifest.json", text), file("README", b"1")],
        "below-a-top-with-a-link-beside-it": [file("a/manifest.json", text), link("b", "a")],
        "below-a-top-with-an-empty-directory-beside-it": [file("a/manifest.json", text),
                                                          directory("b")],
        "below-a-top-with-the-signature-beside-it": [file("a/manifest.json", text),
                                                     file("manifest.sig", b"1")],
        "in-capitals": [file("MANIFEST.JSON", text), run],
        "with-one-capital": [file("Manifest.json", text), run],
        "with-a-space-behind": [file("manifest.json ", text), run],
        "only-below-meta-inf": [file("META-INF/manifest.json", text), run],
    }
    for name, entries in cases.items():
        corpus.refuse_in_formats(f"manifest-{name}", entries, "manifest_missing")


def kinds(corpus):
    real = file("real.json", manifest("refused").data)
    codes = ["manifest_invalid", "manifest_missing"]
    cases = {
        "is-a-link": [real, link("manifest.json", "real.json")],
        "is-a-dangling-link": [link("manifest.json", "real.json"), file("a", b"1")],
        "is-a-link-to-a-directory": [link("manifest.json", "d"), file("d/manifest.json",
                                                                      real.data)],
        "is-a-directory": [directory("manifest.json"), file("a", b"1")],
        "is-an-implied-directory": [file("manifest.json/x", b"1"), file("a", b"1")],
    }
    for name, entries in cases.items():
        corpus.refuse_in_formats(f"manifest-{name}", entries, codes)


def texts(corpus):
    sound = manifest("refused").data
    cases = {
        "empty": b"", "blank": b" \n", "one-brace": b"{", "not-json": b"entry_module: refused\n",
        "cut": sound[:-3], "single-quotes": sound.replace(b'"', b"'"),
        "trailing-comma": sound[:-1] + b",}", "with-a-comment": b"// comment\n" + sound,
        "garbage-behind": sound + b"x", "second-object-behind": sound + sound,
        "nul-behind": sound + b"\0", "nul-inside": sound[:5] + b"\0" + sound[5:],
        "byte-order-mark": b"\xef\xbb\xbf" + sound, "utf-16": sound.decode().encode("utf-16"),
        "invalid-utf-8": sound[:-1] + b',"x":"\xff\xfe"}',
        "overlong-utf-8": sound[:-1] + b',"x":"\xc0\xaf"}',
        "invalid-utf-8-in-a-key": sound[:-1] + b',"\xff":1}',
        "lone-surrogate": sound[:-1] + b',"label":"\\ud800"}',
        "control-character": sound[:-1] + b',"label":"a\nb"}', "nan": sound[:-1] + b',"x":NaN}',
        "number-out-of-range": sound[:-1] + b',"x":1e999}',
        "array": b"[" + sound + b"]", "string": b'"refused"', "number": b"1", "null": b"null",
        "true": b"true",
        "duplicate-key": b'{"entry_module":"a","entry_module":"b"}',
        "duplicate-key-with-equal-values": b'{"entry_module":"a","entry_module":"a"}',
        "duplicate-key-written-differently": b'{"entry_module":"a","entry\\u005fmodule":"b"}',
        "duplicate-key-that-is-ignored": sound[:-1] + b',"x":1,"x":2}',
        "duplicate-key-inside": sound[:-1] + b',"x":{"y":1,"y":2}}',
        "duplicate-key-in-timeout": sound[:-1] + b',"timeout":{"secs":1,"secs":2}}',
        "nested-100000-brackets": b"[" * 100_000,
        "nested-100000-brackets-and-closed": b"[" * 100_000 + b"]" * 100_000,
        "nested-100000-objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "nested-100000-in-an-ignored-key": sound[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000
        + b"}",
        "over-1-mebibyte": sound + b" " * (1 << 20),
        "over-1-mebibyte-in-one-string": sound[:-1] + b',"x":"' + b"y" * (1 << 20) + b'"}',
        "of-50-mebibytes": sound + b" " * (50 << 20),
    }
    for name, text in cases.items():
        corpus.refuse(f"manifest-{name}.tar.gz", with_text(text), INVALID)


def values(corpus):
    wrong = {"a-string": "1", "a-number": 7, "a-fraction": 1.5, "true": True, "an-array": [],
             "an-object": {}, "negative": -1}
    right = {"format_version": (), "label": ("a-string",), "entry_function": ("a-string",),
             "timeout": ("an-object",), "retry": ("an-object",)}
    for key, allowed in right.items():
        for what, value in wrong.items():
            if what not in allowed:
                corpus.refuse(f"manifest-{key}-is-{what}.tar.gz", with_values(**{key: value}),
                              INVALID)
    for version in (0, 2, 1 << 40):
        corpus.refuse(f"manifest-format_version-{version}.tar.gz",
                      with_values(format_version=version), INVALID)
    functions = {"empty": "", "with-a-slash": "a/b", "dotdot": "..", "dot": ".",
                 "leaving": "../manifest.json", "absolute": "/bin/sh", "with-nul": "a\0b",
                 "of-256-bytes": "f" * 256}
    for name, value in functions.items():
        corpus.refuse(f"manifest-entry_function-{name}.tar.gz",
                      with_values(entry_function=value), INVALID)
    timeouts = {"negative": {"secs": -1, "nanos": 0}, "nanos-negative": {"secs": 1, "nanos": -1},
                "secs-a-string": {"secs": "1", "nanos": 0}, "secs-a-fraction": {"secs": 1.5},
                "secs-over-64-bits": {"secs": 1 << 70, "nanos": 0},
                "nanos-a-string": {"secs": 1, "nanos": "0"},
                "nanos-of-a-second": {"secs": 1, "nanos": 1_000_000_000}}
    for name, value in timeouts.items():
        corpus.refuse(f"manifest-timeout-{name}.tar.gz", with_values(timeout=value), INVALID)
    retries = {"max_attempts-negative": {"max_attempts": -1},
               "max_attempts-a-string": {"max_attempts": "3"},
               "max_attempts-a-fraction": {"max_attempts": 1.5},
               "max_attempts-over-64-bits": {"max_attempts": 1 << 70},
               "initial_ms-negative": {"initial_ms": -1}, "initial_ms-true": {"initial_ms": True},
               "max_ms-negative": {"max_ms": -1}, "max_ms-an-array": {"max_ms": [1]}}
    for name, value in retries.items():
        corpus.refuse(f"manifest-retry-{name}.tar.gz", with_values(retry=value), INVALID)
    nul = json.dumps({"entry_module": "refused", "label": "a\0b"})
    corpus.refuse("manifest-label-with-nul.tar.gz", with_text(nul), INVALID)


def types(corpus):
    """The type becomes a name in the mount, and in rows that name it."""
    corpus.refuse("manifest-entry_module-missing.tar.gz", with_text("{}"), INVALID)
    for what, value in {"a-number": 7, "null": None, "an-array": ["a"], "true": True,
                        "an-object": {"a": "b"}}.items():
        corpus.refuse(f"manifest-entry_module-is-{what}.tar.gz", with_values(entry_module=value),
                      INVALID)
    names = {
        "empty": "", "leading-dot": ".order", "dot": ".", "dotdot": "..", "leaving": "../order",
        "of-129-bytes": "t" * 129, "of-100000-bytes": "t" * 100_000, "64-hex-digits": HEX,
        "with-a-space": "or der", "with-a-newline": "order\n", "with-nul": "order\0",
        "with-nul-inside": "or\0der", "with-a-colon": "shop:order", "with-a-backslash": "a\\b",
        "with-an-accent": "caf\u00e9", "with-an-emoji": "\U0001f600", "with-a-star": "*",
        "with-a-tilde": "~", "with-a-percent-sign": "%s", "with-a-hash": "#a", "with-a-plus": "a+b",
        "with-a-fullwidth-letter": "\uff41", "with-a-control-character": "a\x01",
    }
    for name, value in names.items():
        corpus.refuse(f"manifest-entry_module-{name}.tar.gz", with_values(entry_module=value),
                      BAD_TYPE)


def accepted(corpus):
    for name, type_name in {
            "of-128-bytes": "t" * 128, "of-one-byte": "x", "with-slashes": "shop/order/v2",
            "with-dots-behind-a-slash": "a/../b", "63-hex-digits": HEX[:63],
            "65-hex-digits": HEX + "0", "64-other-digits": HEX[:63] + "g", "all-signs": "A-z_0.9@",
            "leading-dash": "-rf", "dots-behind": "a.."}.items():
        entries = package(type_name=type_name)
        corpus.accept(f"manifest-entry_module-{name}.tar.gz", packed(entries), entries,
                      f"entry_module-{name}")
    whole = package(type_name="manifest-whole")
    whole[0] = manifest("manifest-whole", format_version=1, entry_function="main",
                        label="1.4.0 \u2013 caf\u00e9 \U0001f600",
                        timeout={"secs": 3600, "nanos": 5},
                        retry={"max_attempts": 3, "initial_ms": 1000, "max_ms": 300000},
                        more={"deep": [1, [2, [3.5e10, None, True, {"x": "y"}]]]})
    corpus.accept_in_formats("manifest-whole", whole)
    padded = package(type_name="manifest-padded")
    padded[0] = file("manifest.json", b"\r\n\t " + manifest("manifest-padded").data
                     + b" " * 900_000 + b"\n")
    corpus.accept("manifest-of-900000-bytes.tar.gz", packed(padded), padded, "manifest-padded")
    alone = [manifest("manifest-alone")]
    corpus.accept_in_formats("manifest-alone", alone)
    corpus.accept_in_formats("manifest-alone-below-a-top", [e.moved("t/") for e in alone],
                             tree=alone, group="manifest-alone")
    # At the root it is the manifest, and the directory beside it stays what it is.
    both = package(file("top/manifest.json", manifest("other").data), type_name="manifest-twice")
    corpus.accept_in_formats("manifest-at-the-root-and-deeper", both)
    only = [manifest("manifest-in-top"), file("manifest.json.d/x", b"1"),
            file("top/manifest.json", b"not even JSON")]
    corpus.accept_in_formats("manifest-in-a-top-of-its-own-name", [e.moved("top/") for e in only],
                             tree=only)
    executable_manifest = [file("manifest.json", manifest("manifest-executable").data, mode=0o755)]
    corpus.accept("manifest-executable.tar.gz", packed(executable_manifest), executable_manifest,
                  "manifest-executable")
