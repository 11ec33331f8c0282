# Compiler settings shared by every target of ours: fimd_add_library() and fimd_add_test().
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# What our own code is compiled with. Sanitizers instrument our code only: the generated parsers of
# third_party/ are the same in every preset, so ccache builds them once.
add_library(fimd_flags INTERFACE)
target_compile_options(fimd_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-missing-field-initializers>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns falsely of overlapping and out-of-bounds copies inside its own library (bug 105651).
  target_compile_options(fimd_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow>)
endif()
if(FIMD_SANITIZE STREQUAL "address")
  target_compile_options(fimd_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(FIMD_SANITIZE STREQUAL "thread")
  target_compile_options(fimd_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  # ThreadSanitizer knows locks, of which Asio has enough, but not fences.
  target_compile_definitions(fimd_flags INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  add_link_options(-fsanitize=thread)
elseif(NOT FIMD_SANITIZE STREQUAL "")
  message(FATAL_ERROR "FIMD_SANITIZE is '${FIMD_SANITIZE}'; use address, thread or nothing")
endif()

# libFuzzer (clang, preset fuzz): our code reports its coverage; tests/fuzz links the fuzzer.
option(FIMD_FUZZ "Build tests/fuzz for libFuzzer" OFF)
if(FIMD_FUZZ)
  target_compile_options(fimd_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# fimd_add_library(kernels a.cc b.cc): static library fimd_kernels, includes rooted at the project.
function(fimd_add_library name)
  add_library(fimd_${name} STATIC ${ARGN})
  target_include_directories(fimd_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(fimd_${name} PRIVATE fimd_flags)
endfunction()

# fimd_add_test(kernels a_test.cc ...): executable fimd_kernels_test and a ctest of the same name.
# The source tree is the working directory, so tests find tests/data by relative path. Only what they
# test is worth the compiler's time: -O1 takes a third less of it than -O3.
function(fimd_add_test name)
  add_executable(fimd_${name}_test ${ARGN})
  target_compile_options(fimd_${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
  target_link_libraries(fimd_${name}_test PRIVATE fimd_${name} fimd_testing fimd_flags)
  add_test(NAME ${name} COMMAND fimd_${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
endfunction()
