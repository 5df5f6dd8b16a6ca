/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving back the contents of a version or of a run: hold, then release. The hold remembers which
 * upload the version's row carried, so that the next mount can tell a row that stayed from one that
 * came back later.
 */
#include "store/release.h"

#include <errno.h>
#include <string.h>

#include "store/contents.h"
#include "store/private.h"
#include "store/settle.h"
#include "store/tables.h"

struct hold_job {
	struct writer_job job;
	struct store *store;
	struct pending pending;
	const struct digest *digests;
	size_t count;
};

static int apply(MDB_txn *txn, struct writer_job *base)
{
	struct hold_job *job = (struct hold_job *)base;
	const struct env *contents = &job->store->contents;
	struct chunk chunk = {.number = job->pending.number, .kind = CHUNK_DIGEST_LIST};
	int error = pending_put(txn, contents, &job->pending);

	for (size_t at = 0; at < job->count && !error; at += chunk.count, chunk.index++) {
		size_t left = job->count - at;

		chunk.count = left < CHUNK_DIGESTS ? (uint32_t)left : CHUNK_DIGESTS;
		memcpy(chunk.digests, job->digests + at, chunk.count * sizeof(*chunk.digests));
		error = chunk_put(txn, contents, &chunk);
	}
	return error;
}

/*
 * Adopted uploads are dropped by the same writer, in turn: those of the rows that are about to go
 * were dropped in front of this job, or are among the forgotten now. Left over, they would be given
 * back a second time by a mount that finds their rows gone.
 */
int release_hold(struct store *store, struct pending *pending, const struct digest *digests,
		 size_t count)
{
	struct hold_job job = {
		.job = {.apply = apply, .reserved = true},
		.store = store,
		.digests = digests,
		.count = count,
	};
	int error;

	pending->number = store_next_number(store);
	job.pending = *pending;
	job.job.cost_bytes = count * DIGEST_BYTES + 64 * 1024;
	error = writer_run(&store->contents_writer, &job.job);
	if (error)
		return error;
	error = settle_forgotten(store);
	if (error)
		settle_number(store, pending->number, SETTLE_DROP);
	return error;
}

/*
 * What the version's row carries; 0 when it cannot be read. Without a row there are no references
 * to be given back, and the next mount could not tell.
 */
static int find_upload(struct store *store, struct pending *pending)
{
	struct version_row row;
	int error = versions_find(&store->rows, pending->type, &pending->version, &row);

	pending->upload = error ? 0 : row.upload;
	return error == -EBADMSG ? 0 : error;
}

int contents_hold(struct store *store, const char *type, const struct digest *version,
		  const struct digest *digests, size_t count, uint64_t *ret_hold,
		  struct reason *reason)
{
	struct pending pending = {.kind = PENDING_RELEASE, .sealed = true, .version = *version};
	int error;

	strncpy(pending.type, type, TYPE_MAX);
	error = find_upload(store, &pending);
	if (!error)
		error = release_hold(store, &pending, digests, count);
	if (!error)
		*ret_hold = pending.number;
	return store_explain(store, error, reason);
}

int contents_hold_cancel(struct store *store, uint64_t hold)
{
	return settle_number(store, hold, SETTLE_DROP);
}

int contents_release(struct store *store, uint64_t hold, struct reason *reason)
{
	return store_explain(store, settle_number(store, hold, SETTLE_GIVE_BACK), reason);
}
