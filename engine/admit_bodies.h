/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ADMIT_BODIES_H
#define ENGINE_ADMIT_BODIES_H

#include <stdbool.h>
#include <stddef.h>

#include "store/digest.h"

/*
 * The few bodies of an archive that admission reads itself. Which one is the manifest's is known
 * only at the end: a hard link's bytes come under another name, before it (tar) or behind it
 * (cpio). So what bears the right name is kept, and, within BODIES_BUDGET, whatever looks like a
 * JSON object. Private to engine/admit.c.
 */
#define BODY_MAX      (1024u * 1024)
#define BODIES_BUDGET (4u * 1024 * 1024)

enum body_want {
	BODY_UNWANTED,
	BODY_WANTED,  /* it has the name */
	BODY_PERHAPS, /* kept if it begins with { and there is room */
};

struct kept_body {
	struct kept_body *next;
	struct digest digest;
	size_t length;
	char bytes[];
};

struct admit_bodies {
	struct kept_body *kept;
	size_t budget; /* what PERHAPS may still take */
	enum body_want want;
	char *bytes; /* of the body that is coming in */
	size_t length, room;
};

void admit_bodies_open(struct admit_bodies *bodies);
void admit_bodies_close(struct admit_bodies *bodies);

/* A body begins. At most a fixed number of them may be BODY_WANTED. */
void admit_bodies_begin(struct admit_bodies *bodies, enum body_want want);

/* More of it. One of more than BODY_MAX bytes is not kept. Returns -ENOMEM. */
int admit_bodies_add(struct admit_bodies *bodies, const void *bytes, size_t length);

/* It ends, and this is its digest. Returns -ENOMEM. */
int admit_bodies_end(struct admit_bodies *bodies, const struct digest *digest);

/* The body with that digest, or NULL if it wasn't kept. Empty ones never are. */
const struct kept_body *admit_bodies_find(const struct admit_bodies *bodies,
					  const struct digest *digest);

#endif
