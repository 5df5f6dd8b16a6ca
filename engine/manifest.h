/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_MANIFEST_H
#define ENGINE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/reason.h"
#include "store/rows.h"

#define MANIFEST_BYTES_MAX (1024u * 1024)
#define LABEL_MAX          128
#define FUNCTION_MAX       251 /* with "bin/" in front still one path component each */

/* What manifest.json says (DESIGN section 3), defaults filled in. */
struct manifest {
	char type[TYPE_MAX + 1];
	char function[FUNCTION_MAX + 1]; /* the executable is bin/<function> */
	char label[LABEL_MAX + 1];       /* "" when absent */
	bool has_timeout;
	uint64_t timeout_ns;
	uint32_t max_attempts;
	uint64_t initial_ms, max_ms;
};

/*
 * Parses a manifest.json. Unknown keys are ignored; duplicate keys, wrong types, a wrong
 * format_version and everything that jansson refuses are errors, as are more than
 * MANIFEST_BYTES_MAX bytes.
 * Returns 0, -EINVAL manifest_invalid (the message names the key and what is expected), -ENOMEM.
 */
int manifest_parse(const void *bytes, size_t length, struct manifest *ret_manifest,
		   struct reason *reason);

#endif
