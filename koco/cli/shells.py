"""The scripts that make shells ask koco for completions.

They call `koco __complete WORDS`, with the word at the cursor last. Each line of the answer is a
value, a tab and its description. The line `:files` asks the shell for its own completion of paths.
"""

_BASH = r"""_koco() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [ "$line" = ":files" ]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do COMPREPLY+=("$line"); done \
                < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
            return
        fi
        COMPREPLY+=("${line%%$'\t'*}")
    done < <(command koco __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _koco koco
"""

_ZSH = r"""#compdef koco
_koco() {
    local line
    local -a values shown
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then
            _files
            return
        fi
        values+=("${line%%$'\t'*}")
        shown+=("${line//$'\t'/  }")
    done < <(command koco __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#values )) && compadd -V koco -l -d shown -a values
}
if [[ $funcstack[1] == _koco ]]; then
    _koco "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef _koco koco
fi
"""

_FISH = r"""function __koco_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found (command koco __complete $before[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path "$current"
    else
        string join \n -- $found
    end
end
complete -c koco -f -k -a '(__koco_complete)'
"""

#: Shell -> its script.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
