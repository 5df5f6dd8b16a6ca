/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies kept by digest. Bounded: those wanted by name are as many as there are such names, the
 * others share a budget that counts what a kept body costs, not only its bytes.
 */
#include "engine/admit_bodies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void admit_bodies_open(struct admit_bodies *bodies)
{
	*bodies = (struct admit_bodies){.budget = BODIES_BUDGET};
}

void admit_bodies_close(struct admit_bodies *bodies)
{
	while (bodies->kept) {
		struct kept_body *next = bodies->kept->next;

		free(bodies->kept);
		bodies->kept = next;
	}
	free(bodies->bytes);
	bodies->bytes = NULL;
}

void admit_bodies_begin(struct admit_bodies *bodies, enum body_want want)
{
	bodies->want = want;
	bodies->length = 0;
}

static bool begins_like_an_object(const char *bytes, size_t length)
{
	while (length > 0 && strchr(" \t\r\n", *bytes) && *bytes) {
		bytes++;
		length--;
	}
	return length > 0 && *bytes == '{';
}

/* Whether the body is still to be kept when so many bytes more come. */
static bool is_kept(const struct admit_bodies *bodies, const void *bytes, size_t length)
{
	size_t total = bodies->length + length;

	if (bodies->want == BODY_UNWANTED || length > BODY_MAX || total > BODY_MAX)
		return false;
	if (bodies->want == BODY_WANTED)
		return true;
	if (bodies->length == 0 && !begins_like_an_object(bytes, length))
		return false;
	return total + sizeof(struct kept_body) <= bodies->budget;
}

int admit_bodies_add(struct admit_bodies *bodies, const void *bytes, size_t length)
{
	if (length == 0)
		return 0;
	if (!is_kept(bodies, bytes, length)) {
		bodies->want = BODY_UNWANTED;
		return 0;
	}
	if (bodies->length + length > bodies->room) {
		size_t wanted = (bodies->length + length) * 2;
		char *larger = realloc(bodies->bytes, wanted);

		if (!larger)
			return -ENOMEM;
		bodies->bytes = larger;
		bodies->room = wanted;
	}
	memcpy(bodies->bytes + bodies->length, bytes, length);
	bodies->length += length;
	return 0;
}

int admit_bodies_end(struct admit_bodies *bodies, const struct digest *digest)
{
	enum body_want want = bodies->want;
	struct kept_body *body;

	bodies->want = BODY_UNWANTED;
	if (want == BODY_UNWANTED || bodies->length == 0)
		return 0;
	body = malloc(sizeof(*body) + bodies->length);
	if (!body)
		return -ENOMEM;
	body->next = bodies->kept;
	body->digest = *digest;
	body->length = bodies->length;
	memcpy(body->bytes, bodies->bytes, bodies->length);
	bodies->kept = body;
	if (want == BODY_PERHAPS)
		bodies->budget -= sizeof(*body) + bodies->length;
	return 0;
}

const struct kept_body *admit_bodies_find(const struct admit_bodies *bodies,
					  const struct digest *digest)
{
	const struct kept_body *body = bodies->kept;

	while (body && !digest_equal(&body->digest, digest))
		body = body->next;
	return body;
}
