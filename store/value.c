/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values on their way into the journal. Owns the bytes of a small one, the upload of a large one.
 */
#include "store/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/journal.h"
#include "store/private.h"

struct value {
	struct store *store;
	struct digest digest;
	uint64_t size;
	char *bytes; /* a small one's */
};

static int take_small(struct value *value, const void *bytes)
{
	value->bytes = malloc((size_t)value->size + 1);
	if (!value->bytes)
		return -ENOMEM;
	if (value->size)
		memcpy(value->bytes, bytes, (size_t)value->size);
	return digest_of(value->bytes, (size_t)value->size, &value->digest);
}

int value_take(struct store *store, const void *bytes, size_t length, struct value **ret_value,
	       struct reason *reason)
{
	struct value *value = calloc(1, sizeof(*value));
	int error = value ? 0 : -ENOMEM;

	if (!error) {
		value->store = store;
		value->size = length;
		error = length <= VALUE_INLINE_MAX ? take_small(value, bytes) : -EFBIG;
	}
	if (error) {
		value_settle(value, 0);
		return store_explain(store, error, reason);
	}
	*ret_value = value;
	return 0;
}

int value_read(struct store *store, int fd, uint64_t size, struct value **ret_value,
	       struct reason *reason)
{
	char bytes[VALUE_INLINE_MAX];
	size_t done = 0;

	if (size > sizeof(bytes))
		return store_explain(store, -EFBIG, reason);
	while (done < size) {
		ssize_t length = pread(fd, bytes + done, (size_t)size - done, (off_t)done);

		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return store_explain(store, -EIO, reason);
		done += (size_t)length;
	}
	return value_take(store, bytes, done, ret_value, reason);
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
	(void)reason;
	*ret_change = (struct row_change){
	    .kind = ROW_PUT_VALUE,
	    .run = run,
	    .sequence = sequence,
	    .digest = value->digest,
	    .size = value->size,
	    .text = value->bytes,
	    .text_length = (size_t)value->size,
	};
	return 0;
}

void value_settle(struct value *value, int committed)
{
	(void)committed;
	if (!value)
		return;
	free(value->bytes);
	free(value);
}
