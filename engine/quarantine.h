/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_QUARANTINE_H
#define ENGINE_QUARANTINE_H

#include "engine/engine.h"

/*
 * What is damaged: rows that were refused at reload, and loaded versions with a bad content. Shown as
 * quarantine/TYPE/VERSION; the text says what is wrong and the remedy. Names are as the damaged row's
 * key had them, unprintable bytes replaced, so that each is a valid file name. A damaged route row is
 * shown as quarantine/TYPE/route.
 */

/* Returns NULL without memory. */
struct quarantine *quarantine_new(void);
void quarantine_free(struct quarantine *quarantine);

/* Adds a line to an entry, making it where it is not there. Names may be raw bytes of a damaged key. */
void quarantine_add(struct engine *engine, const char *raw_type, const char *raw_name,
		    const struct reason *reason);

/* Takes an entry away: its version was deployed again, or unloaded. Returns whether it was there. */
bool quarantine_remove(struct engine *engine, const char *type, const char *name);

bool quarantine_has(struct engine *engine, const char *type, const char *name);
uint64_t quarantine_count(struct engine *engine);

/* The types with at least one entry, sorted; free(list.names). */
int quarantine_list_types(struct engine *engine, struct name_list *ret_list);

/* The entries of one type. */
int quarantine_list(struct engine *engine, const char *type, struct name_list *ret_list);

/* Copies the text of one entry: the caller frees. Returns -ENOENT, -ENOMEM. */
int quarantine_get(struct engine *engine, const char *type, const char *name, char **ret_text,
		   size_t *ret_length, int64_t *ret_at_ns);

bool quarantine_has_type(struct engine *engine, const char *type);

/* Time of the latest change. */
int64_t quarantine_changed_ns(struct engine *engine);

#endif
