/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks users up for the attempts that run as them, in the daemon: name services need shared
 * libraries, and a holder has none.
 */
#include "engine/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_MAX (1 << 20)

static int copy_entry(struct account *account, const struct passwd *entry)
{
	account->name = strdup(entry->pw_name);
	account->home = strdup(entry->pw_dir && *entry->pw_dir ? entry->pw_dir : "/");
	account->shell = strdup(entry->pw_shell && *entry->pw_shell ? entry->pw_shell : "/bin/sh");
	return account->name && account->home && account->shell ? 0 : -ENOMEM;
}

static int name_by_number(struct account *account, uid_t uid)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", (unsigned)uid);
	account->name = strdup(number);
	account->home = strdup("/");
	account->shell = strdup("/bin/sh");
	return account->name && account->home && account->shell ? 0 : -ENOMEM;
}

static int list_one_group(struct account *account, gid_t gid)
{
	account->groups = malloc(sizeof(gid_t));
	if (!account->groups)
		return -ENOMEM;
	account->groups[0] = gid;
	account->group_count = 1;
	return 0;
}

static int list_groups(struct account *account, gid_t gid)
{
	int count = 32, room;

	do {
		gid_t *larger = realloc(account->groups, (size_t)count * sizeof(gid_t));

		if (!larger)
			return -ENOMEM;
		account->groups = larger;
		room = count;
	} while (getgrouplist(account->name, gid, account->groups, &count) < 0 && count > room);
	/* More than the kernel takes: it answers with as many as there was room for. */
	account->group_count = (size_t)(count < room ? count : room);
	return 0;
}

/* Returns 1 when there is an entry, 0 when there is none. */
static int find_entry(uid_t uid, struct account *account)
{
	struct passwd entry, *found = NULL;
	char *buffer = NULL;
	int error = ERANGE, result;

	for (size_t size = 1024; error == ERANGE && size <= BUFFER_MAX; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		error = getpwuid_r(uid, &entry, buffer, size, &found);
	}
	/* Some services say these when the user is merely not there: getpwnam_r(3). */
	if (error == ENOENT || error == ESRCH || error == EPERM || error == EBADF)
		error = 0;
	result = error != 0 ? -EIO : 0;
	if (result == 0 && found) {
		result = copy_entry(account, found);
		result = result == 0 ? 1 : result;
	}
	free(buffer);
	return result;
}

int account_find(uid_t uid, gid_t gid, struct account *ret_account)
{
	int result;

	*ret_account = (struct account){0};
	result = find_entry(uid, ret_account);
	if (result == 1)
		result = list_groups(ret_account, gid);
	else if (result == 0 && name_by_number(ret_account, uid) == 0)
		result = list_one_group(ret_account, gid);
	else if (result == 0)
		result = -ENOMEM;
	if (result < 0)
		account_release(ret_account);
	return result;
}

void account_release(struct account *account)
{
	free(account->name);
	free(account->home);
	free(account->shell);
	free(account->groups);
	*account = (struct account){0};
}
