/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ADMISSION_H
#define ENGINE_ADMISSION_H

#include <stdatomic.h>

#include "engine/admit.h"
#include "engine/decoder.h"
#include "store/upload.h"

/*
 * From an archive to a judged package: the decoder's stream goes into `admit`, and its bodies into
 * an upload. Shared by deploys, operator packages and `aionfs hash`.
 */
struct admission {
	const char *name; /* of the archive, for messages; may be NULL */
	int spool;        /* the archive; read from its start */
	uint64_t spool_bytes;
	struct decoder_limits limits;
	const atomic_bool *cancel;
	struct upload *upload; /* NULL: contents are hashed and thrown away */
};

/*
 * Decodes and judges. On success the upload (if any) holds exactly the distinct contents that the
 * index names, the index, and the signature; not sealed yet.
 * Ownership: admitted_free(ret_admitted). Returns the errors of DESIGN section 4, -EINTR.
 */
int admission_run(const struct admission *admission, struct admitted *ret_admitted,
		  struct digest *ret_signature, struct reason *reason);

/* The decoder's limits that go with the engine's. */
struct engine_limits;
void admission_limits(const struct engine_limits *limits, struct decoder_limits *ret_limits);

#endif
