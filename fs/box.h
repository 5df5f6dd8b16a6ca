/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_BOX_H
#define FS_BOX_H

#include "fs/call.h"
#include "fs/listing.h"

/*
 * The drop boxes, and what tells one kind from another: deploy/ and stage/ (deploybox.c), the
 * directories of start/ (startbox.c), signals/ and steps/ of a run (signalbox.c, stepbox.c). The
 * names and files of all are dropbox.c's, the moments at which a file is judged commit.c's, the
 * bytes on their way spool.c's; these ask the kind.
 *
 * A file is known by its kind and a text, which is the one that its node has: "NAME" in deploy/,
 * "TYPE/ID" in start/, "RUN/NAME" in a run.
 */
struct spool;

/* Who makes spools that outlive their descriptor: each has a limit of its own. */
enum box_quota {
	QUOTA_USERS,
	QUOTA_ATTEMPTS,
	QUOTAS,
};

struct box_kind {
	enum place place;      /* of its files' nodes */
	enum work_group group; /* who judges */
	bool is_interruptible; /* a signal ends the judging, as long as it only prepares */
	enum box_quota quota;

	/*
	 * Whether the bytes say nothing of whether they are all there, and may be none. Then a file
	 * that is empty at its last close commits, and one whose writer dies of a signal does not.
	 * Else an empty file is a mistake, which `note_empty` tells.
	 */
	bool takes_any_bytes;

	const char *noun;	/* "archive", for messages */
	const char *too_large;	/* the code of a file over the limit */
	const char *limit_name; /* in front of the number in its message, or "" */
	uint64_t (*limit)(const struct fs *fs);

	/*
	 * Before the first byte: may the caller make this file? Of a dot name's file it says what
	 * can be known before it has its final name. May ask for a worker by -EAGAIN.
	 */
	int (*check)(struct call *call, const struct box_kind *kind, const char *text);

	/* NULL, or what takes long and can be done ahead. Its result is spool->prepared. */
	int (*prepare)(struct call *call, struct spool *spool, struct reason *reason);

	/* The commit, under the final name, durable on return. In a worker, with the spool's turn.
	 */
	int (*commit)(struct call *call, struct spool *spool, const char *text,
		      const struct caller *caller, struct reason *reason);

	/* NULL, or keeps what a reader of the name is told after a failure. */
	void (*failed)(struct fs *fs, const struct box_kind *kind, const char *text,
		       const struct caller *caller, const struct reason *reason);

	/* NULL, or tells, once, that a file was closed with nothing in it. */
	void (*note_empty)(struct fs *fs, struct spool *spool);

	/*
	 * What a plain name shows when nobody is writing it: attributes, and the answer to OPEN.
	 * Return -ENOENT.
	 */
	int (*describe)(struct call *call, const struct box_kind *kind, const char *text,
			struct stat *ret_attr);
	int (*open)(struct call *call, const struct box_kind *kind, const char *text);

	/* Adds the plain names that are there, `prefix` being the directory's text and a slash. */
	int (*list)(struct call *call, const struct box_kind *kind, const char *prefix,
		    struct listing *listing);

	/* Removes what a plain name shows. In a worker. Returns -ENOENT. */
	int (*remove)(struct call *call, const struct box_kind *kind, const char *text);

	/* NULL: no; or whether who does not own what a plain name shows may change its times. */
	int (*check_touch)(struct call *call, const struct box_kind *kind, const char *text);

	/* Whether a dot name may get another name of its directory, for which it may commit. */
	int (*check_rename)(struct call *call, const struct box_kind *kind, const char *text,
			    const char *new_text);

	/* NULL, or: a dot name is of no use to anybody any more; it went away without a commit. */
	bool (*is_stale)(struct fs *fs, const struct spool *spool);
	void (*abandoned)(struct fs *fs, const char *text, uint32_t attempt);
};

extern const struct box_kind box_deploy, box_stage, box_start, box_signal, box_step;

struct box_file {
	const struct box_kind *kind;
	char text[NODE_TEXT_MAX + 1];
};

/* The kind of a directory that is a box; else NULL. */
const struct box_kind *box_of_directory(const struct node *node);

/* The kind of a file that is in a box; else NULL. Its text is node->name. */
const struct box_kind *box_of_file(const struct node *node);

/* The file of a name in a box. Returns -EPERM (the directory is no box), -ENAMETOOLONG. */
int box_file_in(const struct node *directory, const char *name, struct box_file *ret_file);

/* What stands before the name in the texts of a box's files. Returns `prefix`. */
const char *box_prefix(const struct node *directory, char prefix[NODE_TEXT_MAX + 1]);

/* The last part of a text: the file's own name. */
const char *box_leaf(const char *text);

static inline bool box_is_dot(const char *text)
{
	return box_leaf(text)[0] == '.';
}

#endif
