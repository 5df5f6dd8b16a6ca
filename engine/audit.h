/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_AUDIT_H
#define ENGINE_AUDIT_H

#include <jansson.h>

#include "engine/engine.h"

/*
 * One line of the log: {"at": ..., "event": ..., members of `fields`, "uid", "gid", "pid"} and a
 * newline. Takes over `fields` (may be NULL); `caller` may be NULL. The caller frees the text.
 * Returns NULL without memory.
 */
char *audit_line(const char *event, int64_t at_ns, const struct caller *caller, json_t *fields,
		 size_t *ret_length);

/*
 * `text` (may be NULL) with a newline behind it, in its own memory, perhaps moved; for every JSON text
 * that a file of the mount shows. Returns NULL without memory, with `text` freed.
 */
char *audit_newline(char *text, size_t *ret_length);

/*
 * A JSON string of bytes that need not be UTF-8: invalid ones become U+FFFD, so that a name can
 * never keep a line from being written.
 */
json_t *audit_string(const char *bytes);

#endif
