/* SPDX-License-Identifier: Apache-2.0 */
/* `aionfs fsck`: one line on stdout for each finding, a sum on stderr; a sound state is silent. */
#include <errno.h>
#include <stdio.h>

#include "engine/fsck.h"
#include "fs/commands.h"
#include "fs/say.h"

static void print_finding(void *context, const struct reason *reason)
{
	(void)context;
	say_progress_end();
	printf("%s: %s\n", reason->code, reason->message);
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
	(void)context;
	say_progress("fsck", done, total, "files");
}

static int check(const char *path)
{
	static const struct fsck_watcher watcher = {
	    .finding = print_finding, .progress = show_progress, .context = NULL};
	struct fsck_totals totals = {0};
	struct reason reason = {0};
	char bytes[SAY_BYTES];
	int error = fsck_state(path, &watcher, &totals, &reason);

	say_progress_end();
	if (error) {
		say_reason(path, &reason, error);
		return EXIT_USAGE;
	}
	if (totals.findings == 0)
		return EXIT_DONE;
	say("%s: %llu findings in %llu versions, %llu routes, %llu receipts and %llu files (%s)",
	    path, (unsigned long long)totals.findings, (unsigned long long)totals.versions,
	    (unsigned long long)totals.routes, (unsigned long long)totals.receipts,
	    (unsigned long long)totals.contents, say_bytes(totals.bytes, bytes));
	return EXIT_FAILED;
}

static int run_fsck(int argc, char **argv)
{
	int first, code;

	if (command_options(&command_fsck, argc, argv, "", NULL, NULL, &first, &code))
		return code;
	if (argc - first != 1)
		return command_usage(&command_fsck);
	return say_finish(check(argv[first]));
}

const struct command command_fsck = {
    .name = "fsck",
    .arguments = "STATE",
    .summary = "check everything in a state directory",
    .details =
	"Reads every row, index, manifest and file in STATE and changes nothing; works beside a\n"
	"mount. Prints one line for each finding, with the version that it is about and what\n"
	"repairs it; nothing when all is well.\n"
	"\n"
	"Exit codes: 0 all is well; 1 there are findings; 2 it could not look.\n",
    .run = run_fsck,
};
