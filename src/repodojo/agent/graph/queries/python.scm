(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name) @class
(module (expression_statement (assignment left: (identifier) @name) @variable))
(import_statement name: (dotted_name) @import)
(import_statement name: (aliased_import name: (dotted_name) @import))
(import_from_statement module_name: (_) @import)
(import_from_statement module_name: (_) name: (dotted_name) @imported)
(import_from_statement module_name: (_) name: (aliased_import name: (dotted_name) @imported))
(call function: (identifier) @call)
(call function: (attribute attribute: (identifier) @call))
(identifier) @use
