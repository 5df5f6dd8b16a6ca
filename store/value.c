/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values on their way into the journal. Owns the bytes of a small one, the upload of a large one.
 * Invariant: a large one's reference is held by its upload's pending row until value_settle; which
 * event that row names is said anew by each value_put.
 */
#include "store/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/journal.h"
#include "store/private.h"
#include "store/upload.h"

/* How much of a file is read at once. */
#define READ_BYTES (64u * 1024)

struct value {
	struct store *store;
	struct digest digest;
	uint64_t size;
	char *bytes;	       /* a small one's */
	struct upload *upload; /* a large one's */
};

static int value_new(struct store *store, uint64_t size, struct value **ret_value,
		     struct reason *reason)
{
	struct value *value = calloc(1, sizeof(*value));
	int error;

	if (!value)
		return store_explain(store, -ENOMEM, reason);
	value->store = store;
	value->size = size;
	if (size > VALUE_INLINE_MAX) {
		error = upload_open(store, &value->upload, reason);
	} else {
		value->bytes = malloc((size_t)size + 1);
		error = value->bytes ? 0 : store_explain(store, -ENOMEM, reason);
	}
	if (error)
		value_settle(value, 0);
	else
		*ret_value = value;
	return error;
}

/* Where the bytes are all there; hands the value over, or ends it. */
static int finish(struct value *value, int error, struct value **ret_value, struct reason *reason)
{
	uint64_t size;

	if (!error && value->upload)
		error = upload_end(value->upload, &value->digest, &size, reason);
	else if (!error)
		error = store_explain(value->store,
				      digest_of(value->bytes, (size_t)value->size, &value->digest),
				      reason);
	if (error)
		value_settle(value, 0);
	else
		*ret_value = value;
	return error;
}

int value_take(struct store *store, const void *bytes, size_t length, struct value **ret_value,
	       struct reason *reason)
{
	struct value *value = NULL;
	int error = value_new(store, length, &value, reason);

	if (error)
		return error;
	if (value->upload)
		error = upload_write(value->upload, bytes, length, reason);
	else if (length)
		memcpy(value->bytes, bytes, length);
	return finish(value, error, ret_value, reason);
}

/* Reads exactly `size` bytes at `offset`. */
static int read_part(struct store *store, int fd, char *bytes, size_t size, uint64_t offset,
		     struct reason *reason)
{
	for (size_t done = 0; done < size;) {
		ssize_t length = pread(fd, bytes + done, size - done, (off_t)(offset + done));

		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return reason_set(reason, EIO, "store_failed",
					  "a value for %s ends too early or can't be read: %s",
					  store->path, length ? strerror(errno) : "it was cut");
		done += (size_t)length;
	}
	return 0;
}

static int read_large(struct value *value, int fd, struct reason *reason)
{
	char *part = malloc(READ_BYTES);
	int error = part ? 0 : store_explain(value->store, -ENOMEM, reason);

	for (uint64_t at = 0; at < value->size && !error; at += READ_BYTES) {
		uint64_t left = value->size - at;
		size_t length = left < READ_BYTES ? (size_t)left : READ_BYTES;

		error = read_part(value->store, fd, part, length, at, reason);
		if (!error)
			error = upload_write(value->upload, part, length, reason);
	}
	free(part);
	return error;
}

int value_read(struct store *store, int fd, uint64_t size, struct value **ret_value,
	       struct reason *reason)
{
	struct value *value = NULL;
	int error = value_new(store, size, &value, reason);

	if (error)
		return error;
	error = value->upload ? read_large(value, fd, reason)
			      : read_part(store, fd, value->bytes, (size_t)size, 0, reason);
	return finish(value, error, ret_value, reason);
}

const struct digest *value_digest(const struct value *value)
{
	return &value->digest;
}

uint64_t value_size(const struct value *value)
{
	return value->size;
}

int value_put(struct value *value, uint64_t run, uint64_t sequence, struct row_change *ret_change,
	      struct reason *reason)
{
	*ret_change = (struct row_change){
	    .kind = ROW_PUT_VALUE,
	    .run = run,
	    .sequence = sequence,
	    .digest = value->digest,
	    .size = value->size,
	};
	if (value->upload) {
		ret_change->upload = upload_number(value->upload);
		return upload_seal_value(value->upload, run, sequence, reason);
	}
	ret_change->text = value->bytes;
	ret_change->text_length = (size_t)value->size;
	return 0;
}

void value_settle(struct value *value, int committed)
{
	if (!value)
		return;
	if (committed && value->upload)
		upload_adopt(value->upload);
	else
		upload_abort(value->upload);
	free(value->bytes);
	free(value);
}
