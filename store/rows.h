/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ROWS_H
#define STORE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/digest.h"
#include "store/reason.h"
#include "store/store.h"

/*
 * The rows environment. All changes go through rows_commit: changes that wait at the same time
 * share one durable transaction, each caller's in a nested one with its own result.
 */

#define TYPE_MAX     128
#define RECEIPTS_MAX 10000

/* A persisted version. Key: type and version. */
struct version_row {
	char type[TYPE_MAX + 1];
	struct digest version;
	uint64_t upload;   /* the upload whose references it took over (store/upload.h) */
	uint64_t deployed; /* change number of its latest deploy through deploy/, 0: only staged */
#define DEPLOYED_NOW UINT64_MAX /* in a ROW_PUT_VERSION: becomes the commit's change number */
	uint64_t changed; /* change number of its latest deploy or stage: the order of the reload */
	int64_t first_ns;  /* wall clock of the first deploy, nanoseconds since 1970 */
	int64_t last_ns;   /* wall clock of the latest */
	uint64_t entries;  /* of the index, the root not counted */
	uint64_t bytes;    /* of all files */
	uint64_t index_bytes;
	uint32_t uid; /* who deployed it first */
	bool has_signature;
	struct digest signature; /* the content that holds manifest.sig */
	uint64_t signature_bytes;
};

/* Where a type's route points, or that it was removed. Key: type. */
struct route_row {
	char type[TYPE_MAX + 1];
	bool removed;
	struct digest version;
	uint64_t changed; /* change number */
	int64_t at_ns;
};

enum row_change_kind {
	ROW_PUT_VERSION,
	ROW_DELETE_VERSION,
	ROW_PUT_ROUTE,
	ROW_PUT_RECEIPT,
	ROW_DELETE_RECEIPT,
	ROW_APPEND_AUDIT,
	ROW_PUT_RUN,
	ROW_APPEND_EVENT,
	ROW_PUT_VALUE,
	ROW_DELETE_RUN,
};

/*
 * One change. Everything that is pointed to is borrowed until rows_commit returns.
 *
 * ROW_PUT_VERSION: where the key exists already, the stored row's `upload`, `first_ns` and `uid`
 * stay (upload 0, and the new ones, when that row is unreadable), `deployed` stays where the new
 * one is 0, and `existed` is set: the references of that version are held once already, the caller
 * releases its own. `changed` (and `deployed`, if it is
 * DEPLOYED_NOW; other values stay) are set to a change number, which grows with every change; the
 * row as it was stored is copied back into the change.
 * ROW_DELETE_VERSION: -ENOENT when the key is absent.
 * ROW_PUT_ROUTE: replaces; `changed` is set as above.
 * ROW_PUT_RECEIPT: replaces the one of the same box and name; the oldest past RECEIPTS_MAX go.
 * ROW_DELETE_RECEIPT: -ENOENT when absent.
 * ROW_APPEND_AUDIT: one line of JSON with its newline.
 * ROW_PUT_RUN: `name` is the ID, `run` its number (journal_next_run). -EEXIST when the ID is taken.
 * ROW_APPEND_EVENT: `text` are the bytes of event `sequence` of `run`, counted from 1. -ESTALE when it
 * is not the one that follows the last: somebody else appended meanwhile.
 * ROW_PUT_VALUE: made by value_put (store/value.h).
 * ROW_DELETE_RUN: made by journal_remove_run (store/journal.h), which gives back what the values
 * hold: `name` and `run`, `sequence` the last event, `size` about how many bytes go. -ENOENT when
 * there is no such run, -ESTALE when that is not its last event.
 */
struct row_change {
	enum row_change_kind kind;
	struct version_row version; /* PUT_VERSION; DELETE_VERSION reads type and version */
	struct route_row route;
	const char *box, *name; /* receipts: "deploy" and the file's name */
	const char *text;       /* receipt or audit line */
	size_t text_length;
	bool existed; /* out, PUT_VERSION */
	uint64_t run, sequence; /* runs, events, values */
	struct digest digest;   /* values: of the bytes ... */
	uint64_t size;		/* ... and how many; `text` are the bytes, NULL for a content's */
	uint64_t upload;	/* values: the upload that brought a content in, else 0 */
};

/*
 * Applies `changes` in their order, all or none. Durable on return. With a ROW_PUT_RUN or a
 * ROW_PUT_VALUE among them they leave the reserve of a filling disk alone, as deploys do.
 * Returns the first change's error, -ENOSPC store_full or -EIO store_failed; then nothing changed.
 * Context: any thread; blocks for the commit. The caller's own locks order conflicting changes.
 */
int rows_commit(struct store *store, struct row_change *changes, size_t count,
		struct reason *reason);

/*
 * Calls `each` for every version row in key order. A row that fails its checksum or does not decode
 * comes with `row` NULL and `why` filled in; `type` and `version` are then what the key says
 * (`type` may be unprintable or ""). Stops and returns what `each` returns if not 0; -EIO when the
 * table cannot be read. The pointers are valid during the call only; `each` must not write.
 */
int rows_each_version(struct store *store,
		      int (*each)(void *context, const char *type, const struct digest *version,
				  const struct version_row *row, const struct reason *why),
		      void *context);

/* The same for routes. */
int rows_each_route(struct store *store,
		    int (*each)(void *context, const char *type, const struct route_row *row,
				const struct reason *why),
		    void *context);

/* The same for receipts, oldest first; unreadable ones come with `text` NULL. */
int rows_each_receipt(struct store *store,
		      int (*each)(void *context, const char *box, const char *name,
				  const char *text, size_t length, const struct reason *why),
		      void *context);

/* The length of the audit log in bytes. */
int rows_audit_size(struct store *store, uint64_t *ret_size);

/*
 * Copies audit bytes from `offset`. An unreadable line reads as a JSON line of the same length that
 * says so. Returns the number of bytes (0 at the end), or -EIO.
 */
ssize_t rows_audit_read(struct store *store, uint64_t offset, char *buffer, size_t size);

/* How the rows writer fared, for metrics: changes handed in and durable transactions made. */
void rows_statistics(struct store *store, uint64_t *ret_changes, uint64_t *ret_commits);

#endif
