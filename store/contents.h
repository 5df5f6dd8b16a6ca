/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CONTENTS_H
#define STORE_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "store/digest.h"
#include "store/reason.h"
#include "store/store.h"

/*
 * The contents environment: bytes by SHA-256. Files of packages, and the indexes themselves (an
 * index's digest is its version). Each content is stored once and counts its references; packed in
 * archive order in pieces of at most 1 MiB, value header included.
 *
 * A reference is held by a version row (one for each distinct digest that its index names, one for
 * the index, one for the signature), by the row of a run's value (store/journal.h: one each), or by a
 * pending row: an upload that is not committed yet, or a release that is not finished yet. Opening
 * the store settles what pending rows are left.
 */

#define PIECE_BYTES (1024u * 1024u)

/* A snapshot to read from. Does not block writers and is not blocked by them. */
struct contents_reader;

/* Takes a snapshot (pooled; no lock that a writer holds). Returns -ENOMEM, -EIO. */
int contents_reader_open(struct store *store, struct contents_reader **ret_reader);

/* Gives it back; what contents_map returned is invalid from here on. NULL is accepted. */
void contents_reader_close(struct contents_reader *reader);

/* Returns -ENOENT when there is no such content, -EIO when its record is unreadable. */
int contents_size(struct contents_reader *reader, const struct digest *digest, uint64_t *ret_size);

/*
 * Points `vectors` at the bytes [offset, offset + length) as they lie in the map; fewer at the end
 * of the content or when `count_max` vectors don't suffice. Bytes are not verified here.
 * The mapping may raise SIGBUS when touched (a file cut by somebody): writev(2) of it gives EFAULT.
 * Returns the number of bytes, -ENOENT, or -EIO (a record or a piece is missing or does not
 * decode).
 */
ssize_t contents_map(struct contents_reader *reader, const struct digest *digest, uint64_t offset,
		     size_t length, struct iovec *vectors, int count_max, int *ret_count);

enum content_verdict {
	CONTENT_UNKNOWN, /* not looked at in this mount */
	CONTENT_GOOD,    /* its bytes hashed to its digest in this mount */
	CONTENT_BAD,     /* they did not, or could not be read */
};

/* What is known, without looking. Context: any thread, takes no lock that is held across I/O. */
enum content_verdict contents_verdict(struct store *store, const struct digest *digest);

/*
 * Hashes a content unless its verdict is known; remembers the verdict for this mount. Survives
 * SIGBUS (the store owns the process's SIGBUS handler, which re-raises for faults not its own).
 * `size` is what the index says; another stored size is bad.
 * Returns 0 good, -EIO content_damaged, -ENOENT content_missing (also remembered as bad).
 * Context: any thread; several may hash the same content at once, harmlessly.
 */
int contents_verify(struct store *store, const struct digest *digest, uint64_t size,
		    struct reason *reason);

/*
 * Copies a whole content of at most `max` bytes into fresh memory and checks its digest.
 * Ownership: the caller frees *ret_bytes, which carries an extra NUL.
 * Returns -ENOENT content_missing, -EIO content_damaged, -EFBIG, -ENOMEM.
 */
int contents_load(struct store *store, const struct digest *digest, size_t max, char **ret_bytes,
		  size_t *ret_length, struct reason *reason);

/*
 * Unloading, first step: writes, durably, a pending row that will hold the references of `version`
 * once its row is gone: `digests` are the distinct contents (index and signature included). While
 * the row still exists the pending row holds nothing. Returns -ENOENT (no such row), -ENOSPC, -EIO.
 */
int contents_hold(struct store *store, const char *type, const struct digest *version,
		  const struct digest *digests, size_t count, uint64_t *ret_hold,
		  struct reason *reason);

/* The version's row stayed after all: forgets the pending row. */
int contents_hold_cancel(struct store *store, uint64_t hold);

/*
 * The version's row is gone and nobody reads it any more: gives the references back and frees what
 * nobody else holds, in bounded transactions; a crash in between is finished by the next mount.
 */
int contents_release(struct store *store, uint64_t hold, struct reason *reason);

/* For fsck: every content in key order. `references` is what is stored, to be compared. */
int contents_each(struct store *store,
		  int (*each)(void *context, const struct digest *digest, uint64_t size,
			      uint64_t references),
		  void *context);

/*
 * For fsck: checks pieces, their directories and records against each other, and that no pending
 * row is left; calls `wrong` for each finding. Does not hash. Returns -EIO when a table is
 * unreadable.
 */
int contents_check(struct store *store, void (*wrong)(void *context, const struct reason *reason),
		   void *context);

/* How many contents there are, and their bytes, for status. */
int contents_count(struct store *store, uint64_t *ret_count);

#endif
