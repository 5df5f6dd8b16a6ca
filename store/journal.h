/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/reason.h"
#include "store/store.h"

/*
 * Runs as the store sees them: an ID with a number, and under that number an append-only sequence of
 * events, opaque bytes here. A value (an input, a step's result, ...) belongs to the event that
 * brought it: small ones lie beside it in rows, larger ones are contents like a package's files.
 * Changes are made by rows_commit (store/rows.h): ROW_PUT_RUN, ROW_APPEND_EVENT, ROW_PUT_VALUE,
 * ROW_DELETE_RUN.
 *
 *     runs     ID                      number
 *     events   number, sequence        the event
 *     values   number, sequence        digest, size, and the bytes or the upload that holds them
 */

#define RUN_ID_MAX       128
#define VALUE_INLINE_MAX (16u * 1024) /* a larger value is a content */
#define EVENT_BYTES_MAX  (96u * 1024)

/* A number for a run to come, never given out before in this mount, and never one that is stored. */
uint64_t journal_next_run(struct store *store);

/*
 * Calls `each` for every run in the order of their IDs. An unreadable row comes with `number` 0 and
 * `why`; `id` is then what the key says, or "". Stops and returns what `each` returns if not 0; -EIO.
 * The pointers are valid during the call only; `each` must not write.
 */
int journal_each_run(struct store *store,
		     int (*each)(void *context, const char *id, uint64_t number,
				 const struct reason *why),
		     void *context);

/* One event as it lies in the store. */
struct event_bytes {
	uint64_t run, sequence;
	const uint8_t *bytes; /* NULL: unreadable */
	size_t length;
};

/* Every event of every run, by number, then sequence. Otherwise as journal_each_run. */
int journal_each_event(struct store *store,
		       int (*each)(void *context, const struct event_bytes *event), void *context);

/* The events of one run from `from` on, in one snapshot. Otherwise as journal_each_run. */
int journal_events(struct store *store, uint64_t run, uint64_t from,
		   int (*each)(void *context, const struct event_bytes *event), void *context);

/* What the store knows of a value. */
struct value_row {
	uint64_t run, sequence;
	struct digest digest;
	uint64_t size;
	uint64_t upload; /* who brought the content in; 0: the bytes are inline */
};

/*
 * Finds a value. When it is inline, `ret_bytes` (may be NULL) becomes a copy with an extra NUL,
 * checked against its digest, that the caller frees; else NULL, and the bytes are the content
 * `digest` (store/contents.h).
 * Returns -ENOENT, -EIO (its row is unreadable, or the bytes are not those of the digest), -ENOMEM.
 */
int journal_value(struct store *store, uint64_t run, uint64_t sequence,
		  struct value_row *ret_row, char **ret_bytes);

/* For fsck: every value row; an unreadable one comes with `row` NULL. */
int journal_each_value(struct store *store,
		       int (*each)(void *context, uint64_t run, uint64_t sequence,
				   const struct value_row *row),
		       void *context);

/*
 * For fsck: checks runs, events and values against each other in one snapshot, so that what a mount
 * does meanwhile is no finding, and calls `wrong` for each finding. Does not look at contents.
 * Returns -EIO when a table is unreadable, -ENOMEM.
 */
int journal_check(struct store *store, void (*wrong)(void *context, const struct reason *reason),
		  void *context);

/*
 * Removing a run, durably: its rows go in one transaction, together with an audit line (may be NULL;
 * `audit_length` bytes); contents that only its values held are given back then, a crash in between
 * is finished by the next mount, and so is what could not be given back: 0 says that the run is gone.
 * `number` 0 is for a run whose row is unreadable: that row goes, its events stay.
 * Returns -ENOENT, -ESTALE (an event was appended meanwhile; nothing changed), -ENOSPC, -EIO,
 * -ENOMEM.
 * Context: any thread but the writers'; nobody is between committing and settling a value of this
 * run. Who reads its values must be done, or is told -ENOENT.
 */
int journal_remove_run(struct store *store, const char *id, uint64_t number, const char *audit,
		       size_t audit_length, struct reason *reason);

#endif
