/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

#include <jansson.h>

#include "engine/engine.h"

/*
 * MNT/log: the audit log (persisted, one line per change) and the notes of this mount (denials,
 * failures, damage: in memory only, bounded), in the order in which they happened. Each line is
 * a JSON object.
 */

/* Begins the log of a mount with what the store holds. Returns NULL without memory. */
struct log *log_new(struct store *store);
void log_free(struct log *log);

/* To be called after each commit that appended audit lines, so that the log shows them. */
void log_audited(struct engine *engine);

/* The length of what log_read can give; grows only, within one mount. */
uint64_t log_size(struct engine *engine);

/* Copies from `offset`. Returns the number of bytes, 0 at the end, -EIO. */
ssize_t log_read(struct engine *engine, uint64_t offset, char *buffer, size_t size);

/* When the last line was added. */
int64_t log_changed_ns(struct engine *engine);

/*
 * Adds a note: {"at":..., "event": event, ...members of `fields`}; also written to stderr as one line
 * when `loud`. Takes over `fields` (may be NULL). Notes about the same event and uid within a second
 * are counted, not added (`repeated` in the next one says how many), unless they are loud.
 */
void log_note(struct engine *engine, const char *event, bool loud, json_t *fields);

#endif
