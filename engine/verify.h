/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_VERIFY_H
#define ENGINE_VERIFY_H

#include "engine/engine.h"

/*
 * Contents are checked against their digest before their first byte is served, once per mount: at
 * first use, or by the scrub, a background thread that begins with routed versions.
 */

/*
 * Makes sure that a file of a version is good. `path` is for the messages. With `cached_only`
 * -EAGAIN says that it would have to be hashed now. A bad file is logged, shown in quarantine/, and
 * marks every version that shares it as damaged.
 * Returns 0, -EIO, -EAGAIN, -ENOMEM (it could not be looked at).
 */
int verify_file(struct engine *engine, struct version *version, const struct digest *digest,
		uint64_t size, const char *path, bool cached_only, struct reason *reason);

/*
 * Makes sure that everything in a version is good, before its first attempt; cheap once it was.
 * Returns 0, -EIO (the version is marked as damaged), -ENOMEM. Blocks for as long as hashing takes.
 */
int verify_version(struct engine *engine, struct version *version, struct reason *reason);

/* Starts the scrub's thread; sets engine->scrub. Returns -ENOMEM, -EAGAIN. */
int scrub_open(struct engine *engine);

/* Ends it, in the middle of its work if need be. NULL is accepted. */
void scrub_close(struct scrub *scrub);

/* A deploy repaired a version: others that were damaged with it are looked at again. */
void scrub_recheck(struct engine *engine);

/* How many files it has looked at, for status. */
uint64_t scrub_verified(const struct engine *engine);

#endif
