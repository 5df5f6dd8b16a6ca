/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_VALUE_H
#define STORE_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/reason.h"
#include "store/rows.h"
#include "store/store.h"

/*
 * A value on its way into the journal:
 *
 *     value_take or value_read; value_put into a change; rows_commit; value_settle
 *
 * A small one stays in memory and goes with the commit; a large one is written into the contents
 * first, held by its upload's pending row until the value row is there.
 */
struct value;

/* Copies `length` bytes. Returns -ENOMEM, -ENOSPC, -EIO. */
int value_take(struct store *store, const void *bytes, size_t length, struct value **ret_value,
	       struct reason *reason);

/* Reads `size` bytes of a file from its start; fewer are -EIO. Otherwise as value_take. */
int value_read(struct store *store, int fd, uint64_t size, struct value **ret_value,
	       struct reason *reason);

const struct digest *value_digest(const struct value *value);
uint64_t value_size(const struct value *value);

/*
 * Fills in a ROW_PUT_VALUE for event `sequence` of `run`; a large value's contents are durable then,
 * and held for that event. Borrows `value` until value_settle. May be called again with other numbers
 * when a commit was refused. Returns -ENOSPC, -EIO, -ENOMEM.
 */
int value_put(struct value *value, uint64_t run, uint64_t sequence, struct row_change *ret_change,
	      struct reason *reason);

/* Ends it: with `committed` the row has it, else what it wrote is given back. NULL is accepted. */
void value_settle(struct value *value, int committed);

#endif
