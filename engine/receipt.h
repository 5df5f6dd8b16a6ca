/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RECEIPT_H
#define ENGINE_RECEIPT_H

#include "engine/deploy.h"

/* What deploy/NAME and stage/NAME show: the newest 10,000 receipts, and as many of failures. */

/* Reads the store's receipts into engine->receipts. Returns -ENOMEM, -EIO. */
int receipts_open(struct engine *engine);
void receipts_close(struct receipts *receipts);

/* Shows a receipt under its name; the commit that persists it is the caller's. Copies `text`. */
void receipt_file(struct engine *engine, enum box box, const char *name, const char *text,
		  size_t length, int64_t at_ns, uid_t uid, bool is_persistent);

struct receipt {
	char *text; /* one JSON object and a newline; owned by the caller: free() */
	size_t length;
	int64_t at_ns;
	uid_t uid;
};

/* Copies a receipt out. Returns -ENOENT, -ENOMEM. */
int receipt_get(struct engine *engine, enum box box, const char *name, struct receipt *ret_receipt);

/* As receipt_get without the text (length, time and owner only; text is NULL). */
int receipt_stat(struct engine *engine, enum box box, const char *name,
		 struct receipt *ret_receipt);

/* The names in a box, sorted; freed by free(*ret_names) in one piece. Returns -ENOMEM. */
int receipt_list(struct engine *engine, enum box box, char ***ret_names, size_t *ret_count);

/* Removes a receipt, durably, and nothing else. Returns -ENOENT, -EACCES, -ENOSPC, -EIO. */
int receipt_remove(struct engine *engine, enum box box, const char *name,
		   const struct caller *caller, struct reason *reason);

/* Time of the latest change in the box, for its directory. */
int64_t receipt_changed_ns(struct engine *engine, enum box box);

#endif
