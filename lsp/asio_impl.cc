// The one translation unit that compiles Asio's separately compiled part.
#include <boost/asio/impl/src.hpp>
