/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DEPLOY_H
#define ENGINE_DEPLOY_H

#include <stdatomic.h>

#include "engine/engine.h"

/* The two boxes that take archives. */
enum box {
	BOX_DEPLOY,
	BOX_STAGE,
};

/* "deploy" or "stage". */
const char *box_name(enum box box);

/* A decoded, admitted package whose contents are durable and held, but which no row names yet. */
struct prepared;

/*
 * Decodes, judges and stores the archive in `spool` (any offset; read from its start).
 * `cancel` may be set by another thread: -EINTR soon after. Returns 0 or the reasons of DESIGN
 * section 4: -EBADMSG, -EINVAL, -EFBIG, -ENOSPC, -EIO, -ENOMEM; nothing is stored then.
 * Context: a worker; blocks for as long as decoding takes. Memory is bounded: two at once decode,
 * others wait their turn.
 */
int deploy_prepare(struct engine *engine, int spool, uint64_t spool_bytes,
		   const atomic_bool *cancel, struct prepared **ret_prepared,
		   struct reason *reason);

/*
 * The last transaction: version, route (for BOX_DEPLOY), receipt and audit line in one durable
 * commit, then the catalog. The receipt of success is filed under `name`. Consumes `prepared` on
 * success; after an error the caller still owns it and may try again.
 * Returns -ENOSPC, -EIO.
 */
int deploy_commit(struct engine *engine, struct prepared *prepared, enum box box, const char *name,
		  const struct caller *caller, struct reason *reason);

/* Gives up a prepared package: its contents are freed. NULL is accepted. */
void deploy_discard(struct prepared *prepared);

/* Files the receipt of a failure under `name` (in memory, until the unmount) and notes it in the log. */
void deploy_failed(struct engine *engine, enum box box, const char *name,
		   const struct caller *caller, const struct reason *reason);

/*
 * For engine/operator.c: as deploy_prepare, with the contents in another store; what was admitted; the
 * upload, which then is the caller's; and an unpublished version object made of both and a row.
 */
struct admitted;
struct upload;
int deploy_prepare_in(struct engine *engine, struct store *store, int spool, uint64_t spool_bytes,
		      const atomic_bool *cancel, struct prepared **ret_prepared,
		      struct reason *reason);
const struct admitted *deploy_admitted(const struct prepared *prepared);
struct upload *deploy_take_upload(struct prepared *prepared);
struct version *deploy_version(const struct prepared *prepared, const struct version_row *row);

#endif
