/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ADMIT_H
#define ENGINE_ADMIT_H

#include "engine/manifest.h"
#include "store/digest.h"

/*
 * Judges what an archive holds: names, duplicates, links, the manifest (DESIGN section 3). Entries
 * are collected in the archive's order; what depends on the finished tree admit_finish judges.
 *
 *     { admit_entry; admit_data*; admit_body? }*; admit_finish
 */
struct admit;

enum admit_kind {
	ADMIT_FILE,
	ADMIT_DIR,
	ADMIT_SYMLINK,
	ADMIT_HARDLINK,
};

#define SIGNATURE_BYTES_MAX  (64u * 1024)
#define ADMIT_NAME_BYTES_MAX (64u * 1024 * 1024) /* all paths and targets, implied parents' too */

/* `entries_max` bounds the finished package, implied parents included. NULL without memory. */
struct admit *admit_new(uint64_t entries_max);
void admit_free(struct admit *admit);

/*
 * Adds an entry. Path and target are raw bytes and copied.
 * Returns -EINVAL entry_unsafe, entry_duplicate or name_invalid, -EFBIG too_many_entries, -ENOMEM.
 */
int admit_entry(struct admit *admit, enum admit_kind kind, const char *path, size_t path_length,
		const char *target, size_t target_length, bool executable, struct reason *reason);

/* Bytes of the last entry's body; only those of a possible manifest or signature are kept. */
int admit_data(struct admit *admit, const void *bytes, size_t length, struct reason *reason);

/* The last entry's body ended. A hard link may have one, too (cpio). Returns -ENOMEM. */
int admit_body(struct admit *admit, const struct digest *digest, uint64_t size,
	       struct reason *reason);

/* A package that may be deployed. */
struct admitted {
	struct manifest manifest;
	char *index_text;
	size_t index_length;
	struct digest version;
	uint64_t entries; /* of the index, the root not counted */
	uint64_t bytes;   /* of all files */
	bool has_executable;
	char *signature; /* NULL without one */
	size_t signature_length;
};

/*
 * Judges the whole. Ownership: admitted_free. Returns -EINVAL manifest_missing, manifest_invalid,
 * entry_unsafe, entry_duplicate, name_invalid; -EFBIG too_many_entries; -ENOMEM.
 */
int admit_finish(struct admit *admit, struct admitted *ret_admitted, struct reason *reason);

/* Frees what is inside and zeroes it; a zeroed one is accepted. */
void admitted_free(struct admitted *admitted);

#endif
