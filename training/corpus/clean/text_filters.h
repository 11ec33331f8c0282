// What a file's text must be like, and what is taken out of it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace fimd::corpus {

bool is_utf8(std::string_view s);
bool contains(std::string_view text, std::string_view what);
bool contains_any(std::string_view text, std::initializer_list<std::string_view> words);

/// Line ends, byte order mark, trailing blanks and long runs of empty lines put in order.
std::string normalised(std::string_view raw);
/// Why the text is not wanted; empty if it is.
std::string quality_problem(const std::string& text, const std::string& language);
/// Removes a leading comment that holds a licence; one in sixteen stays.
void strip_licence_header(std::string& text, const std::string& language);
/// Replaces e-mail addresses by user@example.com.
void scrub_emails(std::string& text);
/// True when the text carries something that looks like a real credential; short well-known token
/// forms are overwritten in place.
bool scrub_secrets(std::string& text);

}  // namespace fimd::corpus
