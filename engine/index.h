/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_INDEX_H
#define ENGINE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/digest.h"
#include "store/reason.h"

/*
 * The canonical index: "#mtree", then one line for each entry, sorted by raw path bytes. Its SHA-256 is
 * the version, so there is exactly one way to write it, and the parser takes no other.
 *
 *     #mtree
 *     . type=dir mode=0755
 *     ./bin type=dir mode=0755
 *     ./bin/run type=file mode=0755 size=812 sha256=9f86...
 *     ./current type=link mode=0777 link=lib/v2
 *
 * In names and targets all but printable ASCII, and space # \ = * ? [, is written \ooo (mtree(5)).
 */
enum index_kind {
	INDEX_DIR,
	INDEX_FILE,
	INDEX_LINK,
};

#define INDEX_PATH_MAX 4095
#define INDEX_NAME_MAX 255

/* Paths are raw bytes without "./"; the root is "" and comes first. */
struct index_entry {
	const char *path;
	size_t path_length;
	enum index_kind kind;
	bool executable;       /* files */
	uint64_t size;         /* files */
	struct digest digest;  /* files */
	const char *target;    /* links */
	size_t target_length;
};

/*
 * Writes the index of entries that are sorted by path, the root first, parents included.
 * Ownership: the caller frees *ret_text. Returns -ENOMEM.
 */
int index_emit(const struct index_entry *entries, size_t count, char **ret_text,
	       size_t *ret_length);

/*
 * Reads an index line by line; `text` is changed in place (names are unescaped where they stand)
 * and must outlive the entries.
 */
struct index_reader {
	char *at, *end;
	unsigned long line; /* number of the last line read, from 1 */
	const char *previous_path;
	size_t previous_length;
};

/* Begins; returns -EBADMSG when the first line isn't "#mtree". */
int index_reader_open(struct index_reader *reader, char *text, size_t length,
		      struct reason *reason);

/*
 * The next entry. Returns 1 with an entry, 0 at the end, -EBADMSG index_damaged for anything that
 * index_emit would not have written (order, escapes, numbers, duplicates). That parents exist is the
 * tree's to check.
 */
int index_reader_next(struct index_reader *reader, struct index_entry *ret_entry,
		      struct reason *reason);

#endif
