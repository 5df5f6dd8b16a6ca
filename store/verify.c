/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying contents and remembering it for this mount. Owns the map of verdicts. Invariant: a
 * verdict is about the bytes that are stored now; one that was formed on bytes which have been
 * rewritten since is thrown away. What this process wrote counts as verified: hashing all of it
 * once more would double the cost of a deploy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/contents.h"
#include "store/fault.h"
#include "store/private.h"
#include "store/verdict.h"

#define VECTORS 16

/* With verdicts_lock held. */
static void remember(struct store *store, const struct digest *digest,
		     enum content_verdict verdict)
{
	if (digest_map_set(&store->verdicts, digest, (uint8_t)verdict))
		digest_map_remove(&store->verdicts, digest);
}

void verdict_set(struct store *store, const struct digest *digest, enum content_verdict verdict)
{
	pthread_mutex_lock(&store->verdicts_lock);
	remember(store, digest, verdict);
	pthread_mutex_unlock(&store->verdicts_lock);
}

enum content_verdict verdict_propose(struct store *store, const struct digest *digest,
				     enum content_verdict verdict)
{
	pthread_mutex_lock(&store->verdicts_lock);
	if (digest_map_get(&store->verdicts, digest) == CONTENT_GOOD)
		verdict = CONTENT_GOOD;
	else
		remember(store, digest, verdict);
	pthread_mutex_unlock(&store->verdicts_lock);
	return verdict;
}

void verdict_forget(struct store *store, const struct digest *digest)
{
	pthread_mutex_lock(&store->verdicts_lock);
	digest_map_remove(&store->verdicts, digest);
	pthread_mutex_unlock(&store->verdicts_lock);
}

enum content_verdict contents_verdict(struct store *store, const struct digest *digest)
{
	uint8_t verdict;

	pthread_mutex_lock(&store->verdicts_lock);
	verdict = digest_map_get(&store->verdicts, digest);
	pthread_mutex_unlock(&store->verdicts_lock);
	return verdict == CONTENT_GOOD  ? CONTENT_GOOD
	       : verdict == CONTENT_BAD ? CONTENT_BAD
					: CONTENT_UNKNOWN;
}

/* Hashes mapped bytes. Returns -EIO when they are not there any more. */
static int hash_vectors(struct digest_stream *stream, const struct iovec *vectors, int count)
{
	struct fault_guard guard;
	volatile int error = 0;

	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	for (volatile int i = 0; i < count && !error; i++)
		error = digest_add(stream, vectors[i].iov_base, vectors[i].iov_len);
	fault_guard_leave(&guard);
	return error;
}

static int hash_content(struct contents_reader *reader, const struct digest *digest, uint64_t size,
			struct digest_stream *stream)
{
	struct iovec vectors[VECTORS];
	uint64_t offset = 0;
	int count;

	while (offset < size) {
		ssize_t length = contents_map(reader, digest, offset, VECTORS * PIECE_BYTES,
					      vectors, VECTORS, &count);
		int error;

		if (length < 0)
			return (int)length;
		if (length == 0)
			return -EIO;
		error = hash_vectors(stream, vectors, count);
		if (error)
			return error;
		offset += (uint64_t)length;
	}
	return 0;
}

/* One look at the stored bytes: 0 good, -ENOENT, -EIO bad, -ENOMEM could not look. */
static int look(struct contents_reader *reader, const struct digest *digest, uint64_t size)
{
	struct digest_stream stream;
	struct digest found;
	uint64_t stored;
	int error = contents_size(reader, digest, &stored);

	if (error)
		return error;
	if (stored != size)
		return -EIO;
	error = digest_open(&stream);
	if (error)
		return error;
	error = hash_content(reader, digest, size, &stream);
	if (!error)
		error = digest_finish(&stream, &found);
	if (!error && !digest_equal(&found, digest))
		error = -EIO;
	digest_close(&stream);
	return error;
}

static int explain(int error, const struct digest *digest, struct reason *reason)
{
	char hex[DIGEST_HEX + 1];

	digest_hex(digest, hex);
	if (error == -ENOENT)
		return reason_set(reason, ENOENT, "content_missing",
				  "content %s is not in the store", hex);
	if (error == -ENOMEM)
		return reason_set(reason, ENOMEM, "store_failed", "out of memory");
	if (error == -EFBIG)
		return reason_set(reason, EFBIG, "content_damaged",
				  "content %s is larger than it may be", hex);
	return reason_set(reason, EIO, "content_damaged",
			  "the stored bytes of content %s are damaged", hex);
}

int contents_verify(struct store *store, const struct digest *digest, uint64_t size,
		    struct reason *reason)
{
	enum content_verdict verdict = contents_verdict(store, digest);
	struct contents_reader *reader;
	int error = -EIO;

	if (verdict == CONTENT_UNKNOWN) {
		error = contents_reader_open(store, &reader);
		if (!error) {
			error = look(reader, digest, size);
			contents_reader_close(reader);
		}
		if (error == -ENOMEM)
			return explain(error, digest, reason);
		verdict = verdict_propose(store, digest, error ? CONTENT_BAD : CONTENT_GOOD);
	}
	return verdict == CONTENT_GOOD ? 0 : explain(error, digest, reason);
}

/* Copies mapped bytes. Returns -EIO when they are not there any more. */
static int copy_vectors(char *bytes, const struct iovec *vectors, int count)
{
	for (int i = 0; i < count; i++) {
		MDB_val value = {.mv_size = vectors[i].iov_len, .mv_data = vectors[i].iov_base};
		size_t length;
		int error = env_copy(&value, bytes, value.mv_size, &length);

		if (error)
			return error;
		bytes += length;
	}
	return 0;
}

static int copy_content(struct contents_reader *reader, const struct digest *digest, char *bytes,
			size_t size)
{
	struct iovec vectors[VECTORS];
	size_t offset = 0;
	int count;

	while (offset < size) {
		ssize_t length = contents_map(reader, digest, offset, size - offset, vectors,
					      VECTORS, &count);
		int error;

		if (length <= 0)
			return length < 0 ? (int)length : -EIO;
		error = copy_vectors(bytes + offset, vectors, count);
		if (error)
			return error;
		offset += (size_t)length;
	}
	return 0;
}

/* One look at the stored bytes that keeps them. */
static int load(struct contents_reader *reader, const struct digest *digest, size_t max,
		char **ret_bytes, size_t *ret_length)
{
	struct digest found;
	uint64_t size;
	char *bytes;
	int error = contents_size(reader, digest, &size);

	if (error)
		return error;
	if (size > max)
		return -EFBIG;
	bytes = malloc((size_t)size + 1);
	if (!bytes)
		return -ENOMEM;
	error = copy_content(reader, digest, bytes, (size_t)size);
	if (!error)
		error = digest_of(bytes, (size_t)size, &found);
	if (!error && !digest_equal(&found, digest))
		error = -EIO;
	if (error) {
		free(bytes);
		return error;
	}
	bytes[size] = '\0';
	*ret_bytes = bytes;
	*ret_length = (size_t)size;
	return 0;
}

int contents_load(struct store *store, const struct digest *digest, size_t max, char **ret_bytes,
		  size_t *ret_length, struct reason *reason)
{
	struct contents_reader *reader;
	int error = contents_reader_open(store, &reader);

	if (!error) {
		error = load(reader, digest, max, ret_bytes, ret_length);
		contents_reader_close(reader);
	}
	if (!error)
		verdict_set(store, digest, CONTENT_GOOD);
	else if (error == -EIO || error == -ENOENT)
		verdict_propose(store, digest, CONTENT_BAD);
	return error ? explain(error, digest, reason) : 0;
}
