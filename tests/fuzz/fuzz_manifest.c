/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.json: whatever the bytes are, the parser either gives a manifest that keeps its own promises,
 * or refuses with a reason that can be shown to a person and put into a receipt.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "engine/manifest.h"
#include "engine/type.h"
#include "tests/fuzz/fuzz.h"

static const char *const seeds[] = {
	"",
	"{}",
	"{\"entry_module\":\"order\"}",
	"{\"format_version\":1,\"entry_module\":\"a/b\",\"entry_function\":\"go\",\"label\":\"1.4\","
	"\"timeout\":{\"secs\":3600,\"nanos\":5},"
	"\"retry\":{\"max_attempts\":3,\"initial_ms\":1000,\"max_ms\":300000}}",
	"{\"entry_module\":\"x\",\"timeout\":{\"secs\":3162240000},\"retry\":{}}",
	"{\"entry_module\":\"x\",\"other\":[1,-2.5e3,true,null,{\"k\":\"\\u00e9\\ud83d\\ude00\"}]}",
	"{\"entry_module\":\"x\",\"label\":\"na\xc3\xafve\\u0000\"}",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
};

const char *fuzz_seed(size_t number, size_t *ret_length)
{
	if (number >= sizeof(seeds) / sizeof(seeds[0]))
		return NULL;
	*ret_length = strlen(seeds[number]);
	return seeds[number];
}

static void check_manifest(const struct manifest *manifest)
{
	fuzz_check(type_is_valid(manifest->type, strlen(manifest->type)));
	fuzz_check(strlen(manifest->function) > 0 && strlen(manifest->function) <= FUNCTION_MAX);
	fuzz_check(!strchr(manifest->function, '/') && strcmp(manifest->function, "..") != 0);
	fuzz_check(strlen(manifest->label) <= LABEL_MAX);
	fuzz_check(manifest->max_attempts >= 1);
	fuzz_check(manifest->initial_ms <= manifest->max_ms);
	fuzz_check(manifest->has_timeout || manifest->timeout_ns == 0);
}

/* jansson makes a string of UTF-8 only: the same that a receipt needs. */
static void check_reason(const struct reason *reason)
{
	json_t *text = json_string(reason->message);

	fuzz_check(reason->error == EINVAL && strcmp(reason->code, "manifest_invalid") == 0);
	fuzz_check(reason->message[0] != '\0' && !strchr(reason->message, '\n'));
	fuzz_check(text);
	json_decref(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct manifest manifest;
	struct reason reason = {0};
	int error = manifest_parse(bytes, length, &manifest, &reason);

	fuzz_check(error == 0 || error == -EINVAL || error == -ENOMEM);
	if (error == 0)
		check_manifest(&manifest);
	else if (error == -EINVAL)
		check_reason(&reason);
	return 0;
}
