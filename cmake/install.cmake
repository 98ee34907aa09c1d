# What an installed facet is: the header, both libraries, what pkg-config and CMake need to find them, the program.
include(CMakePackageConfigHelpers)

install(TARGETS facet facet_static EXPORT facetTargets)
install(FILES include/facet.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${PROJECT_SOURCE_DIR}/NOTICE)
  install(FILES NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()

install(FILES packaging/facet.service packaging/facet.env packaging/haproxy.cfg DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/facet)
configure_package_config_file(cmake/facetConfig.cmake.in facetConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(facetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT facetTargets NAMESPACE facet:: DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/facetConfig.cmake ${PROJECT_BINARY_DIR}/facetConfigVersion.cmake DESTINATION ${package_dir})

# The .pc file finds the prefix from its own place, so that an installed tree can be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH FACET_PC_TO_PREFIX /${pc_dir} /)
configure_file(cmake/facet.pc.in facet.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/facet.pc DESTINATION ${pc_dir})
