/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_PACKING_H
#define TESTS_ENGINE_PACKING_H

/*
 * An archive as admission sees it, for the tests: entries are added one by one, the verdict is
 * taken at the end. The first error is kept, as the decoder would end there; each verdict frees
 * the judge.
 */
#include <stdio.h>

#include "engine/admit.h"
#include "engine/index.h"

#define MANIFEST "{\"entry_module\": \"order\"}"

struct packing {
	struct admit *admit;
	struct digest empty; /* of the file without bytes */
	int error;
	struct reason reason;
};

struct packing packing_begin(void);
struct packing packing_limited(uint64_t entries_max);

/* One entry's head, without a body. */
void begin(struct packing *packing, enum admit_kind kind, const char *path, size_t path_length,
	   const char *target, size_t target_length, bool executable);

/* The body of the last entry. */
void body(struct packing *packing, const char *bytes);

/* A whole entry of any kind; a file holds its own name, links lead to manifest.json. */
void add(struct packing *packing, enum admit_kind kind, const char *path);

void add_file(struct packing *packing, const char *path, const char *bytes);
void add_executable(struct packing *packing, const char *path, const char *bytes);
void add_manifest(struct packing *packing, const char *path);
void add_directory(struct packing *packing, const char *path);
void add_link(struct packing *packing, const char *path, const char *target);
void add_hard_link(struct packing *packing, const char *path, const char *target);

/* Asserts that it is accepted. Ownership: admitted_free. */
struct admitted accepted(struct packing *packing);

/* Asserts the refusal; `entry`, unless NULL, is what the reason names. */
void refused(struct packing *packing, int error, const char *code, const char *entry);

/* The paths of the index, in its order and separated by spaces, without the root. */
void expect_paths(const struct admitted *admitted, const char *expected);

/* The line of the index that is about a path, without its "./"; asserted to be there. */
void expect_line(const struct admitted *admitted, const char *line);

#endif
